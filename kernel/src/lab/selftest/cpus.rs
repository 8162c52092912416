//! The state that every CPU must have: the same control registers, and an APIC that tells errors and non-maskable
//! interrupts.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Test;
use crate::arch::apic;
use crate::arch::control::Controls;
use crate::cpu::work;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};

pub const TESTS: &[Test] = &[
    Test { name: "cpus::controls_are_the_same", run: controls_are_the_same },
    Test { name: "cpus::errors_are_told", run: errors_are_told },
];

fn controls_are_the_same(_: &'static Boot) -> Result<(), Failure> {
    let (mine, others) = (Controls::read(), AtomicU32::new(0));
    work::on_every_cpu(&|| {
        if Controls::read() != mine {
            others.fetch_add(1, Relaxed);
        }
    });
    ensure!(others.load(Relaxed) == 0, "{} CPUs have other control registers", others.load(Relaxed));
    Ok(())
}

/// An APIC that is set up in the wrong order keeps this entry masked.
fn errors_are_told(_: &'static Boot) -> Result<(), Failure> {
    let masked = AtomicU32::new(0);
    work::on_every_cpu(&|| {
        if !apic::tells_errors() {
            masked.fetch_add(1, Relaxed);
        }
    });
    ensure!(masked.load(Relaxed) == 0, "{} CPUs do not tell errors of their APICs", masked.load(Relaxed));
    Ok(())
}
