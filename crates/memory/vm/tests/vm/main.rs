//! Maps on a hosted machine: against a plain model, with faults of several CPUs, without memory, at limits.

mod basics;
mod exhaustion;
mod faster;
mod forest;
mod histories;
mod limits;
mod model;
mod parallel;
mod planted;
mod spaces;
mod values;
mod world;
