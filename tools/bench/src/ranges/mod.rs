//! Range allocators, side by side: Rhumb's arena, the registry's range allocators and sets of ranges, and a model of
//! Linux's vmap.
//!
//! | module | owns |
//! |---|---|
//! | [`subject`] | [`RangeSubject`]: what a range allocator must be able to do; [`Held`](subject::Held): ranges and their faults |
//! | [`subjects`] | the allocators, each as its users call it |
//! | [`fixed`] | pairs and bursts of one size |
//! | [`mixed`] | random frees and allocations of many sizes, with and without alignments |
//! | [`goals`] | the figures that Rhumb wants to reach |
//!
//! All have the same units, 2^22 of them, and hand out each unit once: the workloads look at all live ranges in the end.

mod fixed;
pub(crate) mod goals;
mod mixed;
mod subject;
mod subjects;

#[cfg(test)]
mod tests;

use rhumb_hosted::{ConfigError, HostedMachine};
use rhumb_machine::PhysRange;

use crate::args::Options;
use crate::clock::Clock;
use crate::driver::{Group, Outcome};
use crate::slab::{MEMORY_START, Place};
use subject::RangeSubject;

/// Memory for the records of our own allocator.
const MEMORY_BYTES: u64 = 256 << 20;

/// A workload over any subject: generic, so that each subject's calls are inlined into it.
trait Workload: Copy + 'static {
    /// Returns its name in table and file.
    fn name(&self) -> &'static str;

    /// Runs it once on a fresh allocator.
    fn run<S: RangeSubject>(self, setting: &Setting) -> Outcome;
}

/// The parameters of a workload.
#[derive(Clone)]
struct Setting {
    place: Place,
    clock: Clock,
    options: Options,
}

/// Returns all groups.
pub(crate) fn groups(options: &Options) -> Result<Vec<Group>, ConfigError> {
    let most = options.cpus.iter().copied().max().unwrap_or(1);
    let ram = PhysRange::of_length(MEMORY_START, MEMORY_BYTES).unwrap_or_default();
    let machine = HostedMachine::builder()
        .cpus(most)
        .ram(ram)
        .large_pages(options.pages())
        .pinning(crate::team::pinning())
        .build()?;
    // Subjects live as long as they like: the process has one machine.
    let machine: &'static HostedMachine = Box::leak(Box::new(machine));
    let (clock, mut groups) = (Clock::calibrate(), Vec::new());
    for &cpus in &options.cpus {
        let setting = Setting { place: Place::new(machine, ram, cpus), clock, options: options.clone() };
        add(&setting, fixed::PAIR_1, &mut groups);
        add(&setting, fixed::PAIR_16, &mut groups);
        add(&setting, fixed::BURST, &mut groups);
        add(&setting, mixed::SMALL, &mut groups);
        add(&setting, mixed::MIXED, &mut groups);
        add(&setting, mixed::ALIGNED, &mut groups);
    }
    Ok(groups)
}

fn add(setting: &Setting, workload: impl Workload, groups: &mut Vec<Group>) {
    let cases = subjects::cases(setting, workload);
    if !cases.is_empty() {
        groups.push(Group { workload: workload.name().to_owned(), cpus: setting.place.cpus, cases });
    }
}
