//! The whole log, as a kernel uses it.

use core::cell::Cell;
use std::sync::Mutex;

use ::log::LevelFilter;
use proptest::prelude::*;
use rhumb_machine::MAX_CPUS;
use std::string::String;

use super::*;

std::thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
    static CPU: Cell<usize> = const { Cell::new(0) };
}

struct Threads;

impl Host for Threads {
    fn cpu(&self) -> CpuId {
        CpuId::new(CPU.get()).unwrap()
    }

    fn now_ns(&self) -> u64 {
        NOW.get()
    }
}

struct Shown(Mutex<Vec<String>>);

impl Sink for Shown {
    fn write(&self, record: &Record) {
        self.0.lock().unwrap().push(record.to_string());
    }
}

type TestLog = Log<Threads, Shown>;

fn log(slots: usize) -> TestLog {
    Log::new(Threads, Shown(Mutex::default()), *ring(slots))
}

/// Makes a ring that lives permanently, as the kernel's do.
fn ring(slots: usize) -> std::boxed::Box<Ring<'static>> {
    let slots: Vec<Slot> = (0..slots).map(|_| Slot::new()).collect();
    std::boxed::Box::new(Ring::new(slots.leak()))
}

fn say(log: &TestLog, cpu: usize, time_ns: u64, level: Level, text: &str) {
    CPU.set(cpu);
    NOW.set(time_ns);
    log.log(level, "test", format_args!("{text}"));
}

fn texts(log: &TestLog) -> Vec<String> {
    NOW.set(u64::MAX);
    log.records().map(|record| record.text().to_string()).collect()
}

#[test]
fn levels_of_ring_and_console_are_apart() {
    let log = log(8);
    log.keep(LevelFilter::Debug);
    log.show(LevelFilter::Warn);
    say(&log, 0, 1, Level::Trace, "a");
    say(&log, 0, 2, Level::Debug, "b");
    say(&log, 0, 3, Level::Warn, "c");
    assert_eq!(texts(&log), ["b", "c"]);
    assert_eq!(*log.console().0.lock().unwrap(), ["[    0.000000] warning: c"]);
    log.keep(LevelFilter::Off);
    log.show(LevelFilter::Off);
    say(&log, 0, 4, Level::Error, "d");
    assert_eq!(texts(&log).len(), 2);
}

#[test]
fn cpus_without_a_ring_share_the_first() {
    let log = log(4);
    say(&log, 5, 1, Level::Info, "early on 5");
    let five = std::boxed::Box::leak(ring(2));
    let cpu = CpuId::new(5).unwrap();
    assert_eq!(log.attach(cpu, five), Ok(()));
    assert_eq!(log.attach(cpu, five), Err(AlreadyAttached(cpu)));
    say(&log, 5, 3, Level::Info, "late on 5");
    say(&log, 0, 2, Level::Info, "on 0");
    assert_eq!(texts(&log), ["early on 5", "on 0", "late on 5"]);
    assert_eq!(five.tickets(), 0..1);
}

#[test]
fn the_last_cpu_has_a_ring_and_is_named() {
    let log = log(4);
    for cpu in [0, 255, 256, MAX_CPUS - 1] {
        if cpu > 0 {
            log.attach(CpuId::new(cpu).unwrap(), std::boxed::Box::leak(ring(2))).unwrap();
        }
        say(&log, cpu, 1 + cpu as u64, Level::Info, "here");
    }
    NOW.set(u64::MAX);
    let cpus = log.records().map(|record| record.cpu().index()).collect::<Vec<_>>();
    assert_eq!(cpus, [0, 255, 256, MAX_CPUS - 1]);
}

#[test]
fn a_reader_ends_and_goes_on() {
    let log = log(4);
    say(&log, 0, 10, Level::Info, "1");
    let mut records = log.records();
    say(&log, 0, 20, Level::Info, "2");
    assert_eq!(records.next().unwrap().text(), "1");
    assert!(records.next().is_none());
    records.refresh();
    assert_eq!(records.next().unwrap().text(), "2");
    // Overwritten before they were read: counted.
    for number in 0..7 {
        say(&log, 0, 30 + number, Level::Info, "x");
    }
    records.refresh();
    assert_eq!((records.by_ref().count(), records.missed()), (4, 3));
    assert_eq!(log.lost(), 5);
}

/// The reader comes while another CPU writes: the record is read when it is whole, in its place.
#[test]
fn a_record_that_is_being_written_is_not_passed_over() {
    let log = log(8);
    log.attach(CpuId::new(1).unwrap(), std::boxed::Box::leak(ring(8))).unwrap();
    say(&log, 0, 1, Level::Info, "before");
    let ticket = log.ring(2).unwrap().begin();
    let mut records = log.records();
    assert_eq!(records.by_ref().map(|record| record.text().to_string()).collect::<Vec<_>>(), ["before"]);
    let cpu = CpuId::new(1).unwrap();
    log.ring(2).unwrap().finish(ticket, &Record::new(2, cpu, Level::Info, "test", format_args!("written")));
    say(&log, 1, 3, Level::Info, "after");
    records.refresh();
    assert_eq!(records.map(|record| record.text().to_string()).collect::<Vec<_>>(), ["written", "after"]);
}

/// A CPU that stopped in the middle of a record holds nothing back that it logs later, in a report.
#[test]
fn a_record_that_is_never_whole_is_passed_over() {
    let log = log(8);
    log.ring(0).unwrap().abandon();
    say(&log, 0, 1, Level::Info, "after");
    assert_eq!(texts(&log), ["after"]);
}

/// With the most CPUs, a reader looks at the rings of one group for a record, and at none where no CPU has logged.
#[test]
fn a_reader_looks_at_few_rings_for_a_record() {
    let log = log(4);
    for cpu in (1..MAX_CPUS).filter_map(CpuId::new) {
        log.attach(cpu, std::boxed::Box::leak(ring(2))).unwrap();
    }
    for cpu in 0..MAX_CPUS {
        say(&log, cpu, 1 + cpu as u64, Level::Info, "here");
    }
    let mut records = log.records();
    assert_eq!(records.looks, MAX_CPUS + 1);
    assert_eq!(records.by_ref().count(), MAX_CPUS);
    assert!(records.looks <= (MAX_CPUS + 1) + MAX_CPUS * 64, "{} looks", records.looks);
    for cpu in [0, 62, 63, 64, MAX_CPUS - 1] {
        let before = records.looks;
        records.refresh();
        assert_eq!((records.next().map(|record| record.cpu()), records.looks), (None, before));
        say(&log, cpu, 5000 + cpu as u64, Level::Info, "again");
        records.refresh();
        assert_eq!(records.next().map(|record| record.cpu().index()), Some(cpu));
        assert!(records.next().is_none());
        assert!(records.looks - before <= 2 * 64, "{} looks", records.looks - before);
    }
}

#[test]
fn the_facade_reaches_the_log() {
    let log: &'static TestLog = std::boxed::Box::leak(std::boxed::Box::new(log(8)));
    log.install().unwrap();
    assert!(log.install().is_err());
    CPU.set(2);
    NOW.set(1_500_000_000);
    ::log::info!("memory: {} MiB", 64);
    ::log::debug!("not kept");
    log.keep(LevelFilter::Debug);
    ::log::debug!(target: "here", "kept");
    let records: Vec<String> = log.records().map(|record| format!("{record:#}")).collect();
    assert_eq!(
        records,
        [
            "[    1.500000] cpu 2 INFO  rhumb_klog::tests::merging: memory: 64 MiB",
            "[    1.500000] cpu 2 DEBUG here: kept"
        ]
    );
    assert_eq!(*log.console().0.lock().unwrap(), ["[    1.500000] memory: 64 MiB"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_are_merged_by_time(steps in proptest::collection::vec((0usize..5, 0u64..3), 0..60)) {
        let log = log(8);
        for cpu in 1..4 {
            log.attach(CpuId::new(cpu).unwrap(), std::boxed::Box::leak(ring(4))).unwrap();
        }
        // CPUs 0 and 4 share the first ring.
        let (mut kept, mut now) = ([const { Vec::new() }; 4], 0);
        for (number, &(cpu, step)) in steps.iter().enumerate() {
            now += step;
            say(&log, cpu, now, Level::Info, &number.to_string());
            kept[cpu % 4].push((now, cpu % 4, number));
        }
        let mut expected = Vec::new();
        for (ring, mut records) in kept.into_iter().enumerate() {
            let size = if ring == 0 { 8 } else { 4 };
            expected.extend(records.drain(records.len().saturating_sub(size)..));
        }
        expected.sort_unstable();
        let expected: Vec<String> = expected.into_iter().map(|(.., number)| number.to_string()).collect();
        prop_assert_eq!(&texts(&log), &expected);
        let is_even = |text: &str| text.ends_with(['0', '2', '4', '6', '8']);
        let even: Vec<&str> = expected.iter().map(String::as_str).filter(|text| is_even(text)).collect();
        let newest: Vec<String> =
            log.newest::<5>(|record| is_even(record.text())).map(|record| record.text().to_string()).collect();
        prop_assert_eq!(newest, &even[even.len().saturating_sub(5)..]);
    }
}
