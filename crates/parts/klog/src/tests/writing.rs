//! Records and rings, one writer.

use proptest::prelude::*;
use std::string::String;

use super::*;

#[test]
fn a_record_looks_as_dmesg_prints_it() {
    let record = |level, text: &str| {
        Record::new(
            62_123_456_789,
            CpuId::new(3).unwrap(),
            level,
            "rhumb_kernel::boot",
            format_args!("{text}"),
        )
    };
    let info = record(Level::Info, "direct map\nin two lines\n");
    assert_eq!(info.to_string(), "[   62.123456] direct map\n[   62.123456] in two lines");
    assert_eq!(record(Level::Warn, "what?").to_string(), "[   62.123456] warning: what?");
    assert_eq!(record(Level::Error, "no").to_string(), "[   62.123456] error: no");
    let debug = record(Level::Debug, "x");
    assert_eq!(format!("{debug:#}"), "[   62.123456] cpu 3 DEBUG rhumb_kernel::boot: x");
    assert_eq!(Stamp(u64::MAX).to_string(), "[18446744073.709551]");
}

#[test]
fn a_long_record_is_cut_and_says_so() {
    let text = "ß".repeat(500);
    let long = Record::new(0, CpuId::BOOT, Level::Info, &"m::".repeat(100), format_args!("{text} end"));
    assert!(long.is_cut());
    assert_eq!(long.target().len(), PAYLOAD_BYTES / 4);
    assert!(long.text().chars().all(|character| character == 'ß') && long.text().len() >= 170);
    assert!(long.to_string().ends_with("ß [cut]"));
}

#[test]
fn memory_of_zeros_is_an_empty_ring() {
    let slots = [const { Slot::new() }; 3];
    let ring = Ring::new(&slots);
    assert_eq!((ring.tickets(), ring.lost()), (0..0, 0));
    assert_eq!(ring.read(0).unwrap_err(), Absent::Unfinished);
    let none = Ring::new(&[]);
    none.write(&telling(1));
    assert_eq!(none.read(0).unwrap_err(), Absent::Overwritten);
    assert!(none.lost() >= 1);
}

/// A handler that logs in the middle of another record, however much, neither waits nor harms.
#[test]
fn a_handler_may_log_while_a_record_is_made() {
    struct Handler<'a>(&'a Ring<'a>);
    impl core::fmt::Display for Handler<'_> {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            (0..10).for_each(|number| self.0.write(&telling(number)));
            f.write_str("outer")
        }
    }
    let slots = [const { Slot::new() }; 4];
    let ring = Ring::new(&slots);
    ring.write(&Record::new(0, CpuId::BOOT, Level::Info, "t", format_args!("{}", Handler(&ring))));
    let texts: Vec<String> = ring
        .tickets()
        .filter_map(|ticket| ring.read(ticket).ok())
        .map(|one| one.text().to_string())
        .collect();
    assert_eq!(texts, ["7", "8", "9", "outer"]);
}

/// A writer that never comes back from the middle of a slot costs that slot, and nothing else.
#[test]
fn a_writer_that_never_returns_blocks_nobody() {
    let slots = [const { Slot::new() }; 4];
    let ring = Ring::new(&slots);
    ring.write(&telling(0));
    ring.abandon();
    for number in 2..20 {
        ring.write(&telling(number));
    }
    let mut seen = Vec::new();
    for ticket in ring.tickets() {
        if let Ok(record) = ring.read(ticket) {
            assert_whole(&record);
            seen.push(record.time_ns());
        }
    }
    assert_eq!(seen, [17, 18, 19]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_ring_keeps_the_newest(
        size in 1usize..9,
        texts in proptest::collection::vec(("\\PC{0,20}", "\\PC{0,300}", 0u64..1 << 50, 1usize..6), 0..30),
    ) {
        let slots: Vec<Slot> = (0..size).map(|_| Slot::new()).collect();
        let (ring, mut model) = (Ring::new(&slots), Vec::new());
        for (target, text, time_ns, level) in &texts {
            let level = Level::iter().nth(level - 1).unwrap();
            let cpu = CpuId::new((time_ns % 256) as usize).unwrap();
            ring.write(&Record::new(*time_ns, cpu, level, target, format_args!("{text}")));
            model.push((target, text, *time_ns, level, cpu));
        }
        let kept = model.len().min(size);
        prop_assert_eq!(ring.lost(), (model.len() - kept) as u64);
        let tickets = ring.tickets();
        prop_assert_eq!(tickets.end - tickets.start, kept as u64);
        for (ticket, (target, text, time_ns, level, cpu)) in tickets.zip(&model[model.len() - kept..]) {
            let record = ring.read(ticket).unwrap();
            prop_assert_eq!((record.time_ns(), record.level(), record.cpu()), (*time_ns, *level, *cpu));
            prop_assert!(target.ends_with(record.target()));
            prop_assert!(text.starts_with(record.text()));
            prop_assert_eq!(record.is_cut(), record.text() != text.as_str());
            prop_assert!(!record.is_cut() || record.text().len() + record.target().len() + 4 > PAYLOAD_BYTES);
            prop_assert_eq!(ring.time_ns(ticket), Ok(*time_ns));
        }
    }
}
