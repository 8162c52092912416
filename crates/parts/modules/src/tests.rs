//! Objects made by a writer of object files, whole and damaged.

mod errors;
mod linking;
mod random;
mod sample;
