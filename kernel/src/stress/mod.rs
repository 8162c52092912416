//! Stress tests: all CPUs at once, for as long as asked, each step checked.

mod direct_map;
mod frames;
mod movable;
mod objects;
mod random;
mod unmapped;

pub use direct_map::direct_map;
pub use frames::frames;
pub use movable::movable;
pub use objects::objects;
pub use random::Random;
pub use unmapped::unmapped;
