//! Object allocators, side by side: Rhumb's caches, the registry's heaps for kernels, the heaps of user space.
//!
//! | module | owns |
//! |---|---|
//! | [`subject`] | [`ObjectSubject`]: what an allocator must be able to do; the memory that it may use |
//! | [`subjects`] | the allocators, each as its users call it |
//! | [`child`] | a process for each case: the heaps of user space are one for the process and age with it |
//! | [`objects`] | tags in objects, by which two owners of one object are seen; sizes |
//! | [`fixed`] | pairs and bursts of one size |
//! | [`mixed`] | random frees and allocations of many sizes |
//! | [`remote`] | objects that another CPU frees |
//! | [`held`] | memory held for each live byte |
//! | [`goals`] | the figures that Rhumb wants to reach |
//!
//! The first word of each object is written after its allocation, as its owner would.

pub(crate) mod child;
mod fixed;
pub(crate) mod goals;
mod held;
mod mixed;
mod objects;
mod remote;
mod subject;
mod subjects;

#[cfg(test)]
mod tests;

use rhumb_hosted::{ConfigError, HostedMachine};
use rhumb_machine::{PhysAddr, PhysRange};

use crate::args::{Command, Options};
use crate::clock::Clock;
use crate::driver::{Case, Group, Outcome};
use subject::ObjectSubject;
pub(crate) use subject::Place;
pub(crate) use subjects::slabs;

/// Where the memory of subjects without a host's memory begins: past what has a zone of its own.
pub(crate) const MEMORY_START: PhysAddr = PhysAddr::new(4 << 30);

/// How much of it there is: ten times what a workload has live; where shared data are counted, so much for each CPU. It
/// is address space until it is touched.
const MEMORY_BYTES: u64 = 1 << 30;
/// The part of it that the workloads of the sizes here come to use.
const POPULATED_BYTES: u64 = 192 << 20;

/// A workload over any subject: generic, so that each subject's calls are inlined into it.
trait Workload: Copy + 'static {
    /// Returns its name in table and file.
    fn name(&self) -> &'static str;

    /// Runs it once on a fresh allocator.
    fn run<S: ObjectSubject>(self, setting: &Setting) -> Outcome;

    /// Returns the fewest CPUs on which it makes sense.
    fn fewest_cpus(&self) -> usize {
        1
    }
}

/// The parameters of a workload.
#[derive(Clone)]
struct Setting {
    place: Place,
    clock: Clock,
    options: Options,
}

/// Returns all groups, with cases that run in processes of their own.
pub(crate) fn groups(options: &Options) -> Result<Vec<Group>, ConfigError> {
    groups_of(options, child::apart)
}

/// Returns all groups, with cases that run in this process.
pub(crate) fn groups_here(options: &Options) -> Result<Vec<Group>, ConfigError> {
    groups_of(options, |_, _, _, case| case)
}

/// Returns all groups; `wrap` makes a case of a subject's name, and of the closure that runs it here.
fn groups_of(
    options: &Options,
    wrap: fn(&Options, &'static str, usize, Case) -> Case,
) -> Result<Vec<Group>, ConfigError> {
    let most = options.cpus.iter().copied().max().unwrap_or(1);
    let parts = if options.command == Command::Scale { most as u64 } else { 1 };
    let ram = PhysRange::of_length(MEMORY_START, MEMORY_BYTES * parts).unwrap_or_default();
    let machine = HostedMachine::builder()
        .cpus(most)
        .ram(ram)
        .large_pages(options.pages())
        .pinning(crate::team::pinning())
        .build()?;
    // A kernel's RAM is there. A fresh process has memory at its first touch, which would be in the times, and where a
    // lock is held meanwhile, each CPU would wait for it. A host that refuses makes times longer, not wrong. Where the
    // memory that a subject has touched is what is measured, it is not touched beforehand.
    if options.command == Command::SlabCase && options.only_workload() != Some(held::Held.name()) {
        let used = PhysRange::of_length(MEMORY_START, POPULATED_BYTES).unwrap_or_default();
        let _ = machine.populate(used);
    }
    // Subjects live as long as they like: the process has one machine.
    let machine: &'static HostedMachine = Box::leak(Box::new(machine));
    let (clock, mut groups) = (Clock::calibrate(), Vec::new());
    for &cpus in &options.cpus {
        let place = Place::new(machine, ram, cpus);
        let setting = Setting { place, clock, options: options.clone() };
        add(&setting, fixed::Pair, wrap, &mut groups);
        add(&setting, fixed::BURST, wrap, &mut groups);
        add(&setting, mixed::SMALL, wrap, &mut groups);
        add(&setting, mixed::LARGE, wrap, &mut groups);
        add(&setting, remote::Remote::<64>, wrap, &mut groups);
        add(&setting, remote::Remote::<256>, wrap, &mut groups);
        add(&setting, held::Held, wrap, &mut groups);
    }
    Ok(groups)
}

fn add(
    setting: &Setting,
    workload: impl Workload,
    wrap: fn(&Options, &'static str, usize, Case) -> Case,
    groups: &mut Vec<Group>,
) {
    let (name, cpus) = (workload.name(), setting.place.cpus);
    if cpus < workload.fewest_cpus() {
        return;
    }
    let cases: Vec<Case> = subjects::cases(setting, workload)
        .into_iter()
        .map(|case| wrap(&setting.options, name, cpus, case))
        .collect();
    if !cases.is_empty() {
        groups.push(Group { workload: name.to_owned(), cpus, cases });
    }
}
