//! How large files and programs may be.

/// Programs of a file, at most.
pub const MAX_PROGRAMS: usize = 16;
/// Sections of a file, at most: for each load of a map, all are asked for its relocation. A compiler's file with 16
/// programs and debug data has some 60.
pub const MAX_SECTIONS: usize = 256;
/// Maps of a file, at most.
pub const MAX_MAPS: usize = 16;
/// Bytes of the maps of a file, at most.
pub const MAX_MAP_BYTES: usize = 64 << 20;
/// Instructions of a program, at most. As none runs twice, that bounds a run: some tens of
/// microseconds, and some hundreds for one that does nothing but copy the largest values into maps.
pub const MAX_INSTRUCTIONS: usize = 1024;
/// Bytes of a program's stack.
pub const STACK_BYTES: usize = 512;
