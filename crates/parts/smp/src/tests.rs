//! Tests by module; `loom` runs the protocols in every order.

#[cfg(not(any(loom, shuttle)))]
mod apic;
#[cfg(not(any(loom, shuttle)))]
mod calls;
#[cfg(not(any(loom, shuttle)))]
mod clock;
#[cfg(loom)]
mod loom;
mod machine;
#[cfg(not(any(loom, shuttle)))]
mod mtrr;
#[cfg(not(any(loom, shuttle)))]
mod start;
#[cfg(not(any(loom, shuttle)))]
mod steps;
