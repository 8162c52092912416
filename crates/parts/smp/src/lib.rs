//! Agreements between the CPUs of a machine, without the hardware: protocols and arithmetic that a host can test.
//!
//! | module | owns |
//! |---|---|
//! | [`call`] | [`Inbox`](call::Inbox): running a function on other CPUs, without a lock and without a deadlock |
//! | [`start`] | [`StartWord`](start::StartWord): whether a CPU has come online or has been given up: one of both, never both; [`Starts`](start::Starts): whether one is under way |
//! | [`apic`] | the order in which a local APIC is set up, over a trait of its registers |
//! | [`clock`] | the rate of a counter measured against another one, and how far the counters of two CPUs differ |
//! | [`mtrr`] | [`Mtrrs`](mtrr::Mtrrs): what of RAM is not write-back, and whether two CPUs agree |
//!
//! The kernel supplies registers, interrupts and waiting through small traits; tests supply models of them, and loom's
//! tests run the protocols in every order.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod apic;
pub mod call;
pub mod clock;
pub mod mtrr;
pub mod start;

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
