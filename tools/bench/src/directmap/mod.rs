//! Ways of changing the direct map, side by side: Rhumb's, and Linux's as a model.
//!
//! | module | owns |
//! |---|---|
//! | [`way`] | [`Way`]: what takes part |
//! | [`ways`] | those that do |
//! | [`tables`] | page tables in plain memory, with a map in them |
//! | [`stage`] | where flushes go: counted, to the host's real map, or nowhere |
//! | [`native`] | nanoseconds per page with real mappings, alone and with all CPUs running |
//! | [`served`] | nanoseconds of taking frames from the pool, giving them back, and writing into them, with real mappings |
//! | [`books`] | nanoseconds of the map's own work |
//! | [`threshold`] | nanoseconds of flushes page by page and of full ones |
//! | [`churn`] | a million requests and returns through the pool: rounds of flushes, what is left of the map |
//! | [`world`] | the machine, allocator and map under the pool |
//! | [`mod@counts`] | entries written, flushes and interrupts, for 1 to 8 CPUs |

mod books;
mod churn;
mod counts;
mod native;
mod served;
mod stage;
mod tables;
mod threshold;
mod way;
mod ways;
mod world;

#[cfg(test)]
mod tests;

use rhumb_directmap::Change;
use rhumb_hosted::{ConfigError, CorePinning, HostedMachine};
use rhumb_machine::{Pfn, PfnRange};

use crate::args::Options;
use crate::clock::Clock;
use crate::driver::{Group, Outcome};
use books::{Books, Target};
use counts::{Counts, MOST_CPUS};
use native::Native;
use served::Work;
use way::{Asked, Way};

/// Pages of a 2-MiB block.
const BLOCK_PAGES: u64 = 512;

/// Block number `number`.
fn block(number: u64) -> PfnRange {
    PfnRange::of_length(Pfn::new(number * BLOCK_PAGES), BLOCK_PAGES).unwrap_or_default()
}

/// A workload over any way: generic, so that each way's calls are inlined into it.
trait Workload: Copy + 'static {
    /// Returns the function that runs it once; it may keep a state that takes long to set up.
    fn runner<S: Way>(self, setting: Setting) -> Box<dyn FnMut() -> Outcome>;
}

/// The parameters of a workload.
#[derive(Clone)]
struct Setting {
    machine: &'static HostedMachine,
    cpus: usize,
    clock: Clock,
    options: Options,
}

/// Returns all groups.
pub(crate) fn groups(options: &Options) -> Result<Vec<Group>, ConfigError> {
    let most = options.cpus.iter().copied().max().unwrap_or(1);
    let machine =
        HostedMachine::builder().cpus(most).ram_bytes(1 << 20).pinning(CorePinning::OneEach).build()?;
    // Cases live as long as they like: the process has one machine.
    let machine: &'static HostedMachine = Box::leak(Box::new(machine));
    let setting = |cpus| Setting { machine, cpus, clock: Clock::calibrate(), options: options.clone() };
    let mut groups = Vec::new();
    for &cpus in &options.cpus {
        for (name, native) in natives() {
            add(&mut groups, name, setting(cpus), native);
        }
        for (name, work) in works() {
            let cases = served::cases(name, &setting(cpus), work);
            groups.push(Group { workload: name.to_owned(), cpus, cases });
        }
    }
    for pages in threshold::PAGES {
        let workload = format!("flush-{pages}");
        let cases = threshold::cases(&workload, &setting(1), pages);
        groups.push(Group { workload, cpus: 1, cases });
    }
    for holds in [0, 100_000] {
        for (name, target) in targets() {
            add(&mut groups, &format!("books-{name}@{holds}"), setting(1), Books { target, holds });
        }
    }
    for cpus in 1..=MOST_CPUS {
        for (name, counts) in counts() {
            add(&mut groups, name, Setting { cpus, ..setting(1) }, counts);
        }
    }
    let setting = Setting { cpus: MOST_CPUS, ..setting(1) };
    let cases = churn::cases("churn", &setting);
    groups.push(Group { workload: "churn".to_owned(), cpus: MOST_CPUS, cases });
    Ok(groups)
}

fn add<W: Workload>(groups: &mut Vec<Group>, name: &str, setting: Setting, work: W) {
    let cases = ways::cases(name, &setting, work);
    if !cases.is_empty() {
        groups.push(Group { workload: name.to_owned(), cpus: setting.cpus, cases });
    }
}

/// Returns the changes of a real map, by name.
fn natives() -> [(&'static str, Native); 5] {
    let (remove, protect) = (Change::NotPresent, Change::ReadOnly);
    [
        ("remove-1", Native { pages: 1, change: remove, asked: Asked::AsRange }),
        ("remove-32", Native { pages: 32, change: remove, asked: Asked::PageByPage }),
        ("remove-512", Native { pages: 512, change: remove, asked: Asked::AsRange }),
        ("protect-1", Native { pages: 1, change: protect, asked: Asked::AsRange }),
        ("protect-512", Native { pages: 512, change: protect, asked: Asked::AsRange }),
    ]
}

/// Returns the workloads with frames out of the map, by name.
fn works() -> [(&'static str, Work); 3] {
    [("pool-warm", Work::Warm), ("pool-block", Work::Block), ("window-copy", Work::Copy)]
}

fn targets() -> [(&'static str, Target); 3] {
    [
        ("page-of-whole", Target::PageOfWhole),
        ("page-of-broken", Target::PageOfBroken),
        ("block", Target::Block),
    ]
}

fn counts() -> [(&'static str, Counts); 3] {
    [("count-page", Counts::Page), ("count-512-by-1", Counts::OneByOne), ("count-512", Counts::Block)]
}
