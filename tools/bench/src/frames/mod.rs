//! Page-frame allocators, side by side.
//!
//! | module | owns |
//! |---|---|
//! | [`subject`] | [`FrameSubject`]: what an allocator must be able to do; the region that it manages |
//! | [`subjects`] | the allocators, each wrapped as its documentation intends for several CPUs |
//! | [`steady`] | order-0 and order-9 pairs, bulk, random free and allocation at 90 % full, fresh and aged |
//! | [`latency`] | percentiles of one get, the longest refill and flush |
//! | [`mixed`] | orders 0 to 9 at 75 % full, what is left of 2-MiB blocks, healing |
//! | [`script`] | what a churn of mixed orders frees and asks for |
//! | [`setup`] | initialisation and metadata |
//! | [`goals`] | the figures that Rhumb wants to reach |

pub(crate) mod goals;
mod latency;
mod mixed;
mod script;
mod setup;
mod steady;
mod subject;
mod subjects;

#[cfg(test)]
mod tests;

use rhumb_hosted::{ConfigError, HostedMachine};
use rhumb_machine::{Order, PhysAddr, PhysRange};

use crate::args::{Command, Options};
use crate::clock::Clock;
use crate::driver::{Group, Outcome};
use steady::Free;
use subject::{FrameSubject, Region};

/// Where the managed memory begins: 4 GiB, so that it is one zone for subjects that know zones. Memory below it is
/// for subjects that keep their metadata in the memory that they are given.
const MEMORY_START: u64 = 4 << 30;

/// The memory of the one-terabyte initialisation.
const LARGEST_BYTES: u64 = 1 << 40;

/// Memory of workloads that count blocks: 512 of 2 MiB. Where shared data are counted, so much for each CPU.
const BLOCKS_BYTES: u64 = 1 << 30;

/// Memory for each CPU in the workloads of single frames, where shared data are counted: a CPU keeps as much of it as
/// of more.
const COUNTED_BYTES: u64 = 256 << 20;

/// A workload over any subject: generic, so that each subject's calls are inlined into it.
trait Workload: Copy + 'static {
    /// Runs it once on a fresh allocator.
    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome;

    /// Tells whether it is for subjects that can move frames only.
    fn needs_moving(&self) -> bool {
        false
    }

    /// Returns the largest order that it asks for.
    fn largest_order(&self) -> Order {
        Order::BASE
    }
}

/// The parameters of a workload.
#[derive(Clone)]
struct Setting {
    region: Region,
    clock: Clock,
    options: Options,
}

/// Returns all groups.
pub(crate) fn groups(options: &Options) -> Result<Vec<Group>, ConfigError> {
    let cpus = options.cpus.iter().copied().max().unwrap_or(1);
    let ram = PhysRange::new(PhysAddr::ZERO, PhysAddr::new(MEMORY_START + LARGEST_BYTES)).unwrap_or_default();
    let machine = HostedMachine::builder()
        .cpus(cpus)
        .ram(ram)
        .large_pages(options.pages())
        .pinning(crate::team::pinning())
        .build()?;
    // Subjects hold their machine by value, and live as long as they like: the process has one machine.
    let machine: &'static HostedMachine = Box::leak(Box::new(machine));
    let clock = Clock::calibrate();
    let mut groups = Vec::new();
    let setting = |bytes, cpus| Setting {
        region: Region::new(machine, PhysAddr::new(MEMORY_START), bytes, cpus),
        clock,
        options: options.clone(),
    };
    let mut add =
        |name: &str, bytes: u64, cpus: usize, cases: fn(&str, &Setting) -> Vec<crate::driver::Case>| {
            let is_usual = bytes == BLOCKS_BYTES || options.command == Command::Scale;
            let workload = if is_usual { name.to_owned() } else { format!("{name}@{}G", bytes >> 30) };
            let cases = cases(&workload, &setting(bytes, cpus));
            if !cases.is_empty() {
                groups.push(Group { workload, cpus, cases });
            }
        };
    for &cpus in &options.cpus {
        let (blocks, aged, steady) = match options.command {
            Command::Scale => {
                let counted = COUNTED_BYTES * cpus as u64;
                (BLOCKS_BYTES * cpus as u64, counted, vec![counted])
            }
            _ => (BLOCKS_BYTES, BLOCKS_BYTES, options.mem_bytes.clone()),
        };
        add("pair-order-0", blocks, cpus, |name, s| subjects::cases(name, s, steady::PAIR_BASE));
        add("pair-order-9", blocks, cpus, |name, s| subjects::cases(name, s, steady::PAIR_LARGE));
        for bytes in steady {
            add("bulk", bytes, cpus, |name, s| subjects::cases(name, s, steady::Bulk));
            add("random-1", bytes, cpus, |name, s| {
                subjects::cases(name, s, steady::Random::<1>(Free::Together))
            });
            add("random-1000", bytes, cpus, |name, s| {
                subjects::cases(name, s, steady::Random::<1000>(Free::Together))
            });
        }
        add("aged-1", aged, cpus, |name, s| subjects::cases(name, s, steady::Random::<1>(Free::Scattered)));
        add("aged-1000", aged, cpus, |name, s| {
            subjects::cases(name, s, steady::Random::<1000>(Free::Scattered))
        });
        add("latency", blocks, cpus, |name, s| subjects::cases(name, s, latency::Single));
        add("latency-burst", blocks, cpus, |name, s| subjects::cases(name, s, latency::Burst));
        add("mixed", blocks, cpus, |name, s| subjects::cases(name, s, mixed::Mixed));
        add("healing", blocks, cpus, |name, s| subjects::cases(name, s, mixed::Healing));
        // Held frames of one CPU are moved: with more, the others would have to hold still.
        if cpus == 1 {
            add("compaction", blocks, cpus, |name, s| subjects::cases(name, s, mixed::Compaction));
        }
    }
    for bytes in options.mem_bytes.iter().copied().chain([LARGEST_BYTES]) {
        add("init", bytes, 1, |name, s| subjects::cases(name, s, setup::Init));
    }
    Ok(groups)
}
