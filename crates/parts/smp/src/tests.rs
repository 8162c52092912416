//! Tests by module; `loom` runs the protocols in every order.

#[cfg(not(loom))]
mod apic;
#[cfg(not(loom))]
mod calls;
#[cfg(not(loom))]
mod clock;
#[cfg(loom)]
mod loom;
mod machine;
#[cfg(not(loom))]
mod mtrr;
#[cfg(not(loom))]
mod start;
