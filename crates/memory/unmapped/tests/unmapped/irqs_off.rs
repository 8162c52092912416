//! How long interrupts are off in each long operation, on large memory. A clock, not a test: it demands nothing and
//! prints what it finds (docs/irqsoff.md has the command).

mod frames;
mod map;
mod objects;
mod pool;

use std::collections::BTreeMap;

use rhumb_hosted::irqsoff::Stretch;
use rhumb_hosted::{Cpu, HostedMachine, LargePages};
use rhumb_machine::CpuId;

use crate::world::{GIB, Hosted, phys};

/// The memory of the operations on frames and on the map.
const RAM_BYTES: u64 = 64 * GIB;
const CPUS: usize = 64;
/// A host that runs something else on the core makes a stretch long, and never short: what all rounds have is the
/// operation's own.
const ROUNDS: usize = 7;

/// The stretches of each operation, round by round.
#[derive(Default)]
struct Clock(BTreeMap<&'static str, Vec<Vec<Stretch>>>);

impl Clock {
    /// Does `work`, and writes down its stretches as one round.
    fn time<A>(&mut self, cpu: &Cpu<'_>, operation: &'static str, work: impl FnOnce() -> A) -> A {
        let (answer, stretches) = cpu.trace_each_irqs_off(work);
        self.0.entry(operation).or_default().push(stretches);
        answer
    }

    fn print(self) {
        let mut lines: Vec<Line> =
            self.0.into_iter().filter_map(|(operation, rounds)| Line::of(operation, &rounds)).collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.own));
        println!("{:>8} {:>8} {:>8} {:>8}  operation", "own", "least", "median", "most ns");
        for Line { operation, own, longest, place } in lines {
            let (least, median, most) = (longest[0], longest[longest.len() / 2], longest[longest.len() - 1]);
            println!("{own:>8} {least:>8} {median:>8} {most:>8}  {operation}: {place}");
        }
    }
}

/// The figures that are printed of an operation.
struct Line {
    operation: &'static str,
    /// The longest of its stretches, each by the least time of all rounds that had as many.
    own: u64,
    /// The longest of each round, sorted.
    longest: Vec<u64>,
    /// Where the longest began.
    place: String,
}

impl Line {
    fn of(operation: &'static str, rounds: &[Vec<Stretch>]) -> Option<Self> {
        let longest_of = |round: &Vec<Stretch>| round.iter().map(|stretch| stretch.ns).max();
        let mut longest: Vec<u64> = rounds.iter().filter_map(longest_of).collect();
        longest.sort_unstable();
        // Work that depends on what the rounds before have left takes other stretches each time: the nearest that its
        // rounds have in common are those of one length.
        let alike = |length: usize| rounds.iter().filter(move |round| round.len() == length);
        let length = rounds.iter().map(Vec::len).max_by_key(|&length| (alike(length).count(), length))?;
        let least = |index: usize| alike(length).map(|round| round[index]).min_by_key(|stretch| stretch.ns);
        let own = (0..length).filter_map(least).max_by_key(|stretch| stretch.ns)?;
        Some(Self { operation, own: own.ns.min(longest[0]), longest, place: own.place.to_string() })
    }
}

/// Returns a machine with `RAM_BYTES` from 4 GiB on, and room for tables below.
fn machine() -> Hosted {
    let machine = HostedMachine::builder().cpus(CPUS).large_pages(LargePages::Never);
    let machine = machine.ram(phys(0, GIB)).ram(phys(4 * GIB, RAM_BYTES)).build().unwrap();
    Box::leak(Box::new(machine))
}

#[test]
#[ignore = "a clock: some minutes, for the optimised build"]
fn the_longest_stretches_with_interrupts_off() {
    let mut clock = Clock::default();
    let machine = machine();
    let on_boot_cpu = |clock: &mut Clock, work: &(dyn Fn(&Cpu<'_>, &mut Clock) + Sync)| {
        machine.enter(CpuId::BOOT, |cpu| work(cpu, clock)).unwrap();
    };
    let allocator: &'static _ =
        Box::leak(Box::new(machine.enter(CpuId::BOOT, |_| frames::allocator(machine)).unwrap()));
    frames::fill_magazines(allocator);
    on_boot_cpu(&mut clock, &|cpu, clock| frames::clock(allocator, cpu, clock));
    let (slabs, caches) = machine.enter(CpuId::BOOT, |cpu| objects::caches(allocator, cpu.pinned())).unwrap();
    for _ in 0..ROUNDS {
        objects::fill_magazines(machine, &caches);
        on_boot_cpu(&mut clock, &|cpu, clock| objects::clock(slabs, &caches, cpu, clock));
    }
    on_boot_cpu(&mut clock, &|cpu, clock| map::clock(machine, cpu, clock));
    pool::clock(&mut clock);
    clock.print();
}
