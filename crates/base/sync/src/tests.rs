//! Tests: the locks and the gate on threads; built for a model checker, every interleaving of small cases instead.

#[cfg(loom)]
mod models;
#[cfg(not(any(loom, shuttle)))]
mod queue;
#[cfg(not(any(loom, shuttle)))]
mod threads;
