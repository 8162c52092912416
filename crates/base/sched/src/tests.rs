//! Tests of the whole: shares and priorities in virtual time, real threads as CPUs, and models of the hand-over.

#[cfg(not(any(loom, shuttle)))]
mod bad_input;
#[cfg(not(any(loom, shuttle)))]
mod balancing;
#[cfg(not(any(loom, shuttle)))]
mod cancelling;
#[cfg(not(any(loom, shuttle)))]
mod hosted;
#[cfg(shuttle)]
mod models;
#[cfg(not(any(loom, shuttle)))]
mod shares;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod sim;
#[cfg(not(any(loom, shuttle)))]
mod sly;
#[cfg(not(any(loom, shuttle)))]
mod urgent;
#[cfg(all(rhumb_counted, not(any(loom, shuttle))))]
mod visits;
#[cfg(not(any(loom, shuttle)))]
mod waiting;
#[cfg(not(loom))]
pub(crate) mod world;
