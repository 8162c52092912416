//! Long mappings on a hosted machine, whose software unit remembers every translation and forgets none by itself.

mod holders;
mod pages;
mod world;
