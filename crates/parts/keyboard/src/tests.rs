//! Controllers of all kinds, and keys.

mod controllers;
mod keys;
