//! The unmapped pool on a machine whose CPUs forget no translation by themselves.

mod accounts;
mod churn;
mod compaction;
mod execute;
mod high;
mod irqs_off;
mod model;
mod planted;
mod pool;
mod reserve;
mod two_worlds;
mod world;
