//! The state that every CPU must have: the same control registers, and an APIC that tells errors and non-maskable
//! interrupts.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Test;
use crate::arch::control::Controls;
use crate::arch::{apic, speculation};
use crate::cpu::{area, work};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};

pub const TESTS: &[Test] = &[
    Test { name: "cpus::controls_are_the_same", run: controls_are_the_same },
    Test { name: "cpus::errors_are_told", run: errors_are_told },
    Test { name: "cpus::speculation_is_decided", run: speculation_is_decided },
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

/// Each CPU has the decision that its facts give, and the registers that it asks for; and no measure in the kernel's code
/// is missing where programs run.
fn speculation_is_decided(_: &'static Boot) -> Result<(), Failure> {
    let wrong = AtomicU32::new(0);
    work::on_every_cpu(&|| {
        let decision = speculation::decision();
        let is_right = area::of(area::cpu_now()).and_then(|area| area.speculation.get()) == Some(&decision)
            && speculation::is_taken(&decision.measures);
        wrong.fetch_add(u32::from(!is_right), Relaxed);
    });
    ensure!(wrong.load(Relaxed) == 0, "{} CPUs do not do what was decided about them", wrong.load(Relaxed));
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
