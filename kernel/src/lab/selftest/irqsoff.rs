//! The tracer of stretches with interrupts off tells places apart.

use rhumb_machine::Machine;

use super::Test;
use crate::cpu::area;
use crate::cpu::irqsoff::{IS_BUILT_IN, Place};
use crate::cpu::machine::MACHINE;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};

pub const TESTS: &[Test] = if IS_BUILT_IN {
    &[Test { name: "irqsoff::places_are_told_apart", run: places_are_told_apart }]
} else {
    &[]
};

/// Three stretches of two places: the second guard of a stretch is no place of its own, whatever guard ends last.
fn places_are_told_apart(_: &'static Boot) -> Result<(), Failure> {
    let counted = |line: u32| {
        let pin = MACHINE.pin();
        let here = area::here(pin.pinned());
        let places = here.irqs_off.places();
        let is_here =
            |place: &&Place| place.line().is_some_and(|at| at.file() == file!() && at.line() == line);
        places.iter().filter(is_here).map(|place| place.times()).sum::<u64>()
    };
    let line = line!();
    let stretches = || {
        for _ in 0..3 {
            let first = MACHINE.irq_off();
            let second = MACHINE.irq_off();
            drop(first);
            drop(second);
        }
    };
    let before = (counted(line + 3), counted(line + 4));
    stretches();
    let after = (counted(line + 3), counted(line + 4));
    ensure!(after.0 == before.0 + 3, "{} stretches were counted, not 3", after.0 - before.0);
    ensure!(after.1 == before.1, "the inner guard was counted");
    Ok(())
}
