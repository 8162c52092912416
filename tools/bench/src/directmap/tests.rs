//! Each way does to the tables, and to the host's map, what it was asked for; and flushes for it.

use rhumb_directmap::Change;
use rhumb_hosted::HostedMachine;
use rhumb_machine::{CpuId, CpuMask, PfnRange};

use super::counts::{Counts, MOST_CPUS};
use super::native::Native;
use super::stage::{Cpus, Stage};
use super::way::{Asked, Way};
use super::ways::linux::LinuxWay;
use super::ways::rhumb::Rhumb;
use super::{
    BLOCK_PAGES, Setting, Workload, block, books, churn, natives, served, targets, threshold, ways, works,
};
use crate::args::{Command, Options};
use crate::clock::Clock;
use crate::driver::{Case, Sample};

const CPUS: usize = 2;
const GIB: u64 = 1 << 30;

fn setting(cpus: usize) -> Setting {
    let machine = HostedMachine::builder().cpus(CPUS).ram_bytes(1 << 20).build().unwrap();
    let mut options = Options::defaults(Command::DirectMap);
    options.work_per_mille = 70;
    Setting { machine: Box::leak(Box::new(machine)), cpus, clock: Clock::calibrate(), options }
}

/// Runs a case twice: a round must leave nothing behind that the next one stumbles over.
fn run(case: &mut Case) -> Vec<Sample> {
    (case.run)().unwrap();
    (case.run)().unwrap()
}

fn value(samples: &[Sample], metric: &str) -> f64 {
    samples.iter().find(|sample| sample.metric == metric).unwrap().value
}

/// Samples of `counts` on `cpus` CPUs: Rhumb's, and the model's.
fn counted(counts: Counts, cpus: usize) -> [Vec<Sample>; 2] {
    let mut cases = ways::cases("counts", &setting(cpus), counts);
    assert_eq!(cases.iter().map(|case| case.subject).collect::<Vec<_>>(), ["rhumb", "linux-way"]);
    [run(&mut cases[0]), run(&mut cases[1])]
}

#[test]
fn a_page_takes_one_round_out_and_none_back_and_is_mended() {
    let [rhumb, linux] = counted(Counts::Page, MOST_CPUS);
    assert_eq!((value(&rhumb, "out-flushes"), value(&rhumb, "out-interrupts")), (1.0, 7.0));
    assert_eq!((value(&rhumb, "back-flushes"), value(&rhumb, "back-interrupts")), (0.0, 0.0));
    assert_eq!((value(&rhumb, "allocated"), value(&rhumb, "left-split")), (0.0, 0.0));
    // A split of each level, then the page; and back without a flush, in pieces permanently.
    assert_eq!((value(&linux, "out-flushes"), value(&linux, "back-flushes")), (3.0, 0.0));
    assert_eq!(value(&linux, "out-interrupts"), 3.0 * 7.0);
    assert_eq!((value(&linux, "allocated"), value(&linux, "left-split")), (2.0, 2.0));
    assert_eq!(value(&linux, "out-writes"), 513.0 * 2.0 + 1.0);
}

#[test]
fn a_block_takes_one_round_where_its_pages_take_one_each() {
    let [rhumb, linux] = counted(Counts::Block, MOST_CPUS);
    assert_eq!(value(&rhumb, "flushes-per-page"), 1.0 / 512.0);
    // A table from the reserve, its 512 entries, the entry that refers to it, the block's.
    assert_eq!(value(&rhumb, "out-writes"), 515.0);
    assert!(value(&linux, "flushes-per-page") > 1.0);
    let [rhumb, linux] = counted(Counts::OneByOne, MOST_CPUS);
    assert_eq!(value(&rhumb, "flushes-per-page"), 1.0);
    assert_eq!((value(&rhumb, "left-split"), value(&linux, "left-split")), (0.0, 2.0));
}

#[test]
fn with_fewer_cpus_only_interrupts_are_told() {
    let [rhumb, _] = counted(Counts::Page, 5);
    assert!(rhumb.len() == 2 && rhumb.iter().all(|sample| sample.unit == "interrupts"));
    assert_eq!((value(&rhumb, "out-interrupts"), value(&rhumb, "back-interrupts")), (4.0, 0.0));
}

/// The map of `S` is as boot left it, after each change and its undoing.
fn changes_and_restores<S: Way>(change: Change, asked: Asked) {
    let machine = HostedMachine::builder().cpus(CPUS).ram_bytes(1 << 20).build().unwrap();
    machine
        .enter(CpuId::BOOT, |cpu| {
            let targets = CpuMask::first(CPUS);
            let stage = Stage::counting(Cpus { machine: &machine, pinned: cpu.pinned(), targets });
            let mut way = S::new(GIB, BLOCK_PAGES as usize).unwrap();
            let mut held = Vec::new();
            for start in [0, 5, 509] {
                let frames = PfnRange::of_length(block(1).start().plus(start), 7).unwrap();
                let before = way.done();
                way.change(&stage, (frames, change), asked, &mut held).unwrap();
                assert!(!held.is_empty() && way.done().table_writes >= before.table_writes + 7);
                assert_eq!(way.done().whole_1g, 0);
                let flushes = stage.counts().flushes;
                way.restore(&stage, &mut held).unwrap();
                assert!(held.is_empty());
                // No CPU has cached a page that was not there.
                assert_eq!(stage.counts().flushes > flushes, change != Change::NotPresent);
                assert_eq!(way.done().whole_1g, u64::from(S::NAME == Rhumb::NAME));
            }
        })
        .unwrap();
}

#[test]
fn every_way_changes_and_restores() {
    for change in [Change::NotPresent, Change::ReadOnly] {
        for asked in [Asked::AsRange, Asked::PageByPage] {
            changes_and_restores::<Rhumb>(change, asked);
            changes_and_restores::<LinuxWay>(change, asked);
        }
    }
}

/// The host's map follows: a frame that was taken out has no page behind it; one that came back has its content.
#[test]
fn the_hosts_map_follows() {
    let host = rhumb_hosted::native::NativeMap::new(4 << 20).unwrap();
    let place = host.base().plus(block(1).start().addr().get()).as_mut_ptr::<u64>();
    // SAFETY: RAM of the map, in it here and below.
    unsafe { place.write_volatile(17) };
    // SAFETY: the frames are looked at only while they are in the map.
    let stage = unsafe { Stage::real(&host) }.unwrap();
    let mut way = Rhumb::new(4 << 20, 1).unwrap();
    let mut held = Vec::new();
    way.change(&stage, (block(1), Change::NotPresent), Asked::AsRange, &mut held).unwrap();
    let maps = |rights: &str| {
        let line = format!("{:x}-", host.base().plus(2 << 20).get());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|entry| entry.starts_with(&line) && entry.contains(rights))
    };
    assert!(maps(" ---p "));
    way.restore(&stage, &mut held).unwrap();
    stage.failure().unwrap();
    assert!(!maps(" ---p "));
    // SAFETY: it is back.
    assert_eq!(unsafe { place.read_volatile() }, 17);
    way.change(&stage, (block(1), Change::ReadOnly), Asked::AsRange, &mut held).unwrap();
    assert!(maps(" r--s "));
    // Frames that the host's map has not got are refused, and it is told.
    way.restore(&stage, &mut held).unwrap();
    let mut larger = Rhumb::new(8 << 20, 1).unwrap();
    larger.change(&stage, (block(3), Change::NotPresent), Asked::AsRange, &mut held).unwrap();
    assert!(stage.failure().is_err());
}

#[test]
fn a_pool_takes_blocks_and_leaves_the_map_whole() {
    let mut cases = churn::cases("churn", &setting(4));
    let [rhumb, linux] = [run(&mut cases[0]), run(&mut cases[1])];
    assert_eq!(value(&rhumb, "pages-taken"), value(&linux, "pages-taken"));
    assert!(value(&rhumb, "rounds-per-512") <= 1.0 && value(&linux, "rounds-per-512") >= 512.0);
    assert_eq!((value(&rhumb, "left-split"), value(&rhumb, "covered-by-1g")), (0.0, 100.0));
    assert!(value(&linux, "left-split") >= 2.0 && value(&linux, "covered-by-1g") < 100.0);
}

#[test]
fn flushes_are_timed_around_the_hosts_threshold() {
    for pages in threshold::PAGES {
        let mut cases = threshold::cases("flush", &setting(1), pages);
        let samples = run(&mut cases[0]);
        assert!(samples.iter().all(|sample| (0.1..1e7).contains(&sample.value)), "{samples:?}");
    }
}

/// Every timed workload runs on every way, alone and in company, and says what it must.
#[test]
fn every_workload_runs() {
    let sane = |cases: Vec<Case>| {
        assert_eq!(cases.len(), 2);
        for mut case in cases {
            let samples = run(&mut case);
            let wrong = samples.iter().find(|sample| !(1.0..1e8).contains(&sample.value));
            assert!(!samples.is_empty() && wrong.is_none(), "{}: {wrong:?}", case.subject);
        }
    };
    for cpus in [1, CPUS] {
        for (name, native) in natives() {
            sane(ways::cases(name, &setting(cpus), native));
        }
        for (name, work) in works() {
            sane(served::cases(name, &setting(cpus), work));
        }
    }
    for (name, target) in targets() {
        sane(ways::cases(name, &setting(1), books::Books { target, holds: 100 }));
    }
}

/// A way that the host refuses to follow ends the case for all of the team.
#[test]
fn a_failure_ends_the_team() {
    let native = Native { pages: 1, change: Change::Execute, asked: Asked::AsRange };
    let mut failing = native.runner::<Failing>(setting(CPUS));
    assert_eq!(failing().unwrap_err().0, "planted");
}

/// Refuses everything.
struct Failing;

impl Way for Failing {
    const NAME: &'static str = "failing";

    type Held = ();

    fn new(_: u64, _: usize) -> Result<Self, crate::driver::Unfit> {
        Ok(Self)
    }

    fn change(
        &mut self,
        _: &Stage<'_>,
        _: (PfnRange, Change),
        _: Asked,
        _: &mut Vec<()>,
    ) -> Result<(), crate::driver::Unfit> {
        Err(crate::driver::Unfit("planted".to_owned()))
    }

    fn restore(&mut self, _: &Stage<'_>, _: &mut Vec<()>) -> Result<(), crate::driver::Unfit> {
        Ok(())
    }

    fn done(&self) -> super::way::Done {
        super::way::Done::default()
    }
}
