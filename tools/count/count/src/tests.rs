//! Counting by hand-made instruction streams: what the emulator would tell.

use proptest::prelude::*;
use rhumb_mark::{Mark, RegionId};

use crate::{Access, Counter, Executed, Fault, FaultKind, Instruction, Place, Report, ReportError, Side};

fn id(number: u16) -> RegionId {
    RegionId::new(number).expect("in range")
}

fn plain(address: u64) -> Instruction {
    Instruction::new(address, &[0x90])
}

fn string(address: u64) -> Instruction {
    Instruction::new(address, &[0xf3, 0xa4])
}

/// Returns a counter with region 1 open on CPU 0.
fn counter() -> Counter {
    let mut counter = Counter::default();
    counter.mark(0, Mark::Begin(id(1)));
    counter
}

fn finish(mut counter: Counter) -> Report {
    counter.mark(0, Mark::End(id(1)));
    counter.finish()
}

fn executed(instructions: u64, iterations: u64) -> Executed {
    Executed { instructions, iterations }
}

#[test]
fn an_empty_region_counts_nothing() {
    let report = finish(counter());
    let samples = &report.region(id(1)).expect("measured").samples;
    assert_eq!(samples.len(), 1);
    assert_eq!((samples[0].here, samples[0].code_lines), (Executed::default(), 0));
    assert!(report.faults.is_empty());
}

#[test]
fn what_is_outside_does_not_count() {
    let mut counter = Counter::default();
    counter.execute(0, plain(0x1000));
    assert!(counter.is_idle());
    counter.mark(0, Mark::Begin(id(1)));
    assert!(!counter.is_idle());
    counter.execute(0, plain(0x1001));
    counter.mark(0, Mark::End(id(1)));
    counter.execute(0, plain(0x1002));
    counter.access(0, 0x2000, 8, Access::Read);
    let report = counter.finish();
    let region = report.region(id(1)).expect("measured");
    assert_eq!(region.samples[0].here, executed(1, 0));
    assert_eq!(region.samples[0].reads, 0);
    assert_eq!(
        region.places.keys().copied().collect::<Vec<_>>(),
        [Place { side: Side::Here, address: 0x1001 }]
    );
}

/// Told of by the emulator: one execution for each of five iterations, and one that finds none left.
#[test]
fn string_iterations_count_apart() {
    let mut counter = counter();
    counter.execute(0, plain(0x1000));
    (0..6).for_each(|_| counter.execute(0, string(0x1001)));
    counter.execute(0, plain(0x1003));
    // Another one, with a count of zero.
    counter.execute(0, string(0x1004));
    let report = finish(counter);
    assert_eq!(report.region(id(1)).expect("measured").samples[0].here, executed(4, 5));
}

#[test]
fn a_string_instruction_that_is_executed_anew_is_a_new_one() {
    let mut counter = counter();
    for _ in 0..3 {
        counter.execute(0, string(0x1000));
        counter.execute(0, plain(0x1002));
    }
    // Another CPU in between does not end a repetition.
    counter.execute(0, string(0x1000));
    counter.execute(1, plain(0x5000));
    counter.execute(0, string(0x1000));
    let report = finish(counter);
    let sample = report.region(id(1)).expect("measured").samples[0];
    assert_eq!((sample.here, sample.elsewhere), (executed(7, 1), executed(1, 0)));
}

#[test]
fn each_cpu_has_its_own_regions() {
    let mut counter = counter();
    counter.mark(3, Mark::Begin(id(2)));
    counter.execute(0, plain(0x1000));
    counter.execute(3, plain(0x2000));
    counter.execute(3, plain(0x2001));
    counter.mark(3, Mark::End(id(2)));
    counter.execute(3, plain(0x2002));
    let report = finish(counter);
    let sample = |number| report.region(id(number)).expect("measured").samples[0];
    assert_eq!((sample(1).cpu, sample(1).here, sample(1).elsewhere), (0, executed(1, 0), executed(3, 0)));
    assert_eq!((sample(2).cpu, sample(2).here, sample(2).elsewhere), (3, executed(2, 0), executed(1, 0)));
}

#[test]
fn nested_regions_both_count() {
    let mut counter = counter();
    counter.execute(0, plain(0x1000));
    counter.mark(0, Mark::Begin(id(2)));
    counter.execute(0, plain(0x1001));
    counter.mark(0, Mark::End(id(2)));
    counter.execute(0, plain(0x1002));
    let report = finish(counter);
    assert_eq!(report.region(id(1)).expect("measured").samples[0].here, executed(3, 0));
    assert_eq!(report.region(id(2)).expect("measured").samples[0].here, executed(1, 0));
}

#[test]
fn lines_are_distinct_and_64_bytes() {
    let mut counter = counter();
    // Two instructions in one line, one across its end.
    counter.execute(0, plain(0x1000));
    counter.execute(0, plain(0x103d));
    counter.execute(0, Instruction::new(0x103e, &[0x0f, 0x1f, 0x40, 0x00]));
    for (address, bytes, access) in
        [(0x2000, 8, Access::Read), (0x2038, 8, Access::Write), (0x207f, 2, Access::Write)]
    {
        counter.access(0, address, bytes, access);
    }
    let report = finish(counter);
    let sample = report.region(id(1)).expect("measured").samples[0];
    assert_eq!((sample.code_lines, sample.data_lines), (2, 3));
    assert_eq!((sample.reads, sample.writes), (1, 2));
}

#[test]
fn marks_that_do_not_pair_are_told() {
    let mut counter = counter();
    counter.mark(0, Mark::Begin(id(1)));
    counter.mark(1, Mark::End(id(1)));
    counter.mark(2, Mark::Begin(id(5)));
    let report = finish(counter);
    let fault = |kind, cpu, number| Fault { kind, cpu, id: id(number) };
    assert_eq!(
        report.faults,
        [
            fault(FaultKind::BegunTwice, 0, 1),
            fault(FaultKind::NotBegun, 1, 1),
            fault(FaultKind::NotEnded, 2, 5)
        ]
    );
    assert_eq!(report.region(id(5)), None);
    assert_eq!(report.faults[2].to_string(), "region 5 was begun, but not ended on CPU 2");
}

#[test]
fn recognises_repeated_string_instructions() {
    let repeats = |code: &[u8]| Instruction::new(0, code).repeats;
    for code in [
        &[0xf3, 0xa4][..],         // rep movsb
        &[0xf3, 0x48, 0xa5],       // rep movsq
        &[0xf3, 0x48, 0xab],       // rep stosq
        &[0xf2, 0xae],             // repne scasb
        &[0xf3, 0x66, 0xa7],       // repe cmpsw
        &[0x66, 0xf3, 0xad],       // rep lodsw, prefixes the other way round
        &[0x67, 0xf3, 0x48, 0xa5], // with 32-bit addresses
        &[0xf3, 0x6c],             // rep insb
    ] {
        assert!(repeats(code), "{code:02x?}");
    }
    for code in [
        &[0xa4][..],               // movsb
        &[0xf3, 0x90],             // pause
        &[0xf3, 0x0f, 0xb8, 0xc0], // popcnt
        &[0xf3, 0xc3],             // rep ret
        &[0xf3, 0x0f, 0x1e, 0xfa], // endbr64
        &[0xf0, 0x0f, 0xb1, 0x0f], // lock cmpxchg
        &[0x48, 0x89, 0xa4, 0x24], // mov with a byte that looks like a string instruction
        &[0xf3],
        &[],
    ] {
        assert!(!repeats(code), "{code:02x?}");
    }
}

#[test]
fn a_text_that_is_no_report_is_refused() {
    let parse = |text: &str| text.parse::<Report>();
    let head = "rhumb-count 1\n";
    assert_eq!(parse(""), Err(ReportError::NotAReport));
    assert_eq!(parse("rhumb-count 2\nend\n"), Err(ReportError::NotAReport));
    assert_eq!(parse(head), Err(ReportError::Truncated));
    assert_eq!(parse(&format!("{head}region 1\n")), Err(ReportError::Truncated));
    for line in [
        "region",
        "region 16384",
        "region 1 2",
        "sample 0 0 0 0 0 0 0 0 0",
        "place here zz 1 1",
        "fault sad 0 1",
        "",
    ] {
        assert_eq!(parse(&format!("{head}{line}\nend\n")), Err(ReportError::BadLine(2)), "{line}");
    }
    assert_eq!(parse(&format!("{head}end\n")), Ok(Report::default()));
}

/// One thing that the emulator tells of, on one of three CPUs, with two regions.
#[derive(Clone, Copy, Debug)]
enum Event {
    Mark(usize, Mark),
    Execute(usize, Instruction),
    Access(usize, u64, u64, Access),
}

fn event() -> impl Strategy<Value = Event> {
    let cpu = 0..3_usize;
    let mark = (0..2_u16, any::<bool>())
        .prop_map(|(number, begin)| if begin { Mark::Begin(id(number)) } else { Mark::End(id(number)) });
    prop_oneof![
        1 => (cpu.clone(), mark).prop_map(|(cpu, mark)| Event::Mark(cpu, mark)),
        4 => (cpu.clone(), 0..4_u64, any::<bool>()).prop_map(|(cpu, address, repeats)| {
            Event::Execute(cpu, if repeats { string(address) } else { plain(address) })
        }),
        2 => (cpu, 0..300_u64, 1..9_u64, any::<bool>()).prop_map(|(cpu, address, bytes, write)| {
            Event::Access(cpu, address, bytes, if write { Access::Write } else { Access::Read })
        }),
    ]
}

/// A model without shared state: for each pair of marks, walks through the events between them again.
fn model_steps(events: &[Event], cpu: usize, number: u16) -> Vec<(u64, u64, u64)> {
    let mut samples = Vec::new();
    let mut begun = None;
    for (index, event) in events.iter().enumerate() {
        match *event {
            Event::Mark(on, Mark::Begin(at)) if on == cpu && at == id(number) => {
                begun = begun.or(Some(index));
            }
            Event::Mark(on, Mark::End(at)) if on == cpu && at == id(number) => {
                let Some(first) = begun.take() else { continue };
                let between = &events[first..index];
                let steps = |here: bool| {
                    between
                        .iter()
                        .filter(|event| matches!(event, Event::Execute(on, _) if (*on == cpu) == here))
                        .count() as u64
                };
                let accesses =
                    between.iter().filter(|event| matches!(event, Event::Access(on, ..) if *on == cpu));
                samples.push((steps(true), steps(false), accesses.count() as u64));
            }
            _ => {}
        }
    }
    samples
}

proptest! {
    #[test]
    fn counts_what_the_model_counts(events in proptest::collection::vec(event(), 0..200)) {
        let mut counter = Counter::default();
        for &event in &events {
            match event {
                Event::Mark(cpu, mark) => counter.mark(cpu, mark),
                Event::Execute(cpu, instruction) => counter.execute(cpu, instruction),
                Event::Access(cpu, address, bytes, access) => counter.access(cpu, address, bytes, access),
            }
        }
        let report = counter.finish();
        for number in 0..2 {
            for cpu in 0..3 {
                let samples = report.region(id(number)).map_or(&[][..], |region| &region.samples);
                let found: Vec<_> = samples
                    .iter()
                    .filter(|sample| sample.cpu == cpu)
                    .map(|sample| (sample.here.steps(), sample.elsewhere.steps(), sample.reads + sample.writes))
                    .collect();
                prop_assert_eq!(found, model_steps(&events, cpu, number));
            }
        }
        prop_assert_eq!(report.to_string().parse(), Ok(report));
    }

    #[test]
    fn an_instruction_survives_its_word(address: u64, length in 1..16_usize, repeats: bool) {
        // Canonical under five levels.
        let address = ((address << 7) as i64 >> 7) as u64;
        let instruction = Instruction { address, bytes: length as u8, repeats };
        prop_assert_eq!(Instruction::unpack(instruction.pack()), instruction);
    }
}
