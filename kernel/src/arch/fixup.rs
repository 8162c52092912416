//! Instructions that may fault in the kernel, and where the CPU goes on if one does.
//!
//! Each such instruction is one of a leaf in assembly, which adds an entry to a table of the image ([`fixup!`]). The
//! handler of faults asks [`resume_at`]. Nothing is noted before an access, so accesses are as quick as any, interrupts
//! may be on, and every CPU may make them in every context at once.
//!
//! The linker gathers the entries in the order of its input. Boot sorts them in place ([`sort`]) while its own tables
//! show the image writable, so that a look-up is a binary search; from then on the table is read-only data.
//!
//! A fault that is *no* entry's is a bug of the kernel, and is reported as one.

use core::slice;

/// Adds an entry to the table: the instruction at label `$at` may fault, and the CPU goes on at label `$resume` then,
/// with all registers as the instruction left them.
macro_rules! fixup {
    ($at:literal, $resume:literal) => {
        concat!(".pushsection .fixups, \"a\", @progbits\n", ".quad ", $at, ", ", $resume, "\n", ".popsection")
    };
}
pub(crate) use fixup;

/// An instruction that may fault, and where the CPU goes on.
#[repr(C)]
#[derive(Clone, Copy)]
struct Fixup {
    at: u64,
    resume: u64,
}

unsafe extern "C" {
    static mut __fixups_start: Fixup;
    static mut __fixups_end: Fixup;
}

/// Returns how many entries there are.
fn count() -> usize {
    ((&raw const __fixups_end) as usize - (&raw const __fixups_start) as usize) / size_of::<Fixup>()
}

/// Sorts the table. Once, before any of its instructions may fault.
///
/// # Safety
/// The tables that are loaded show the image writable, and no other CPU runs.
pub unsafe fn sort() {
    // SAFETY: the linker gathers the entries, and nothing else, between the two symbols; the image is writable, and no
    // other code looks at them, by the caller's promise.
    let table = unsafe { slice::from_raw_parts_mut(&raw mut __fixups_start, count()) };
    table.sort_unstable_by_key(|fixup| fixup.at);
}

/// Returns where the CPU goes on if the instruction at `at` faults; `None` where it may not.
///
/// Cost: a binary search.
pub fn resume_at(at: u64) -> Option<u64> {
    // SAFETY: the linker gathers the entries between the two symbols, and no code writes them after boot has sorted
    // them, before the first of these instructions ran.
    let table = unsafe { slice::from_raw_parts(&raw const __fixups_start, count()) };
    let found = table.binary_search_by_key(&at, |fixup| fixup.at).ok()?;
    table.get(found).map(|fixup| fixup.resume)
}

/// Returns whether the table is as a look-up needs it: not empty, and each instruction once, in order.
#[cfg(feature = "lab")]
pub fn is_sorted() -> bool {
    // SAFETY: as in `resume_at`.
    let table = unsafe { slice::from_raw_parts(&raw const __fixups_start, count()) };
    !table.is_empty() && table.is_sorted_by(|a, b| a.at < b.at)
}
