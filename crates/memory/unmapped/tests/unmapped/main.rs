//! The unmapped pool, the windows and the protected tables on a machine whose CPUs forget no translation by themselves.

mod accounts;
mod churn;
mod compaction;
mod execute;
mod irqs_off;
mod model;
mod planted;
mod pool;
mod protect;
mod reserve;
mod storm;
mod two_worlds;
mod views;
mod world;
