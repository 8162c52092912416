use super::events::{Family, family_of};
use super::*;

#[test]
fn cpus_have_the_events_of_their_makers_files() {
    let skylake = Family::Intel { loads: 0x08, stores: 0x49, code: 0x85 };
    let sapphire = Family::Intel { loads: 0x12, stores: 0x13, code: 0x11 };
    for (vendor, family, model, expected) in [
        ("GenuineIntel", 6, 0x55, skylake),
        ("GenuineIntel", 6, 0x6a, skylake),
        ("GenuineIntel", 6, 0x8f, sapphire),
        // A hybrid CPU, whose cores differ.
        ("GenuineIntel", 6, 0x97, Family::Other),
        ("GenuineIntel", 15, 0x55, Family::Other),
        ("AuthenticAMD", 0x19, 0x11, Family::Amd),
        ("AuthenticAMD", 0x15, 0x11, Family::Other),
        ("HygonGenuine", 0x18, 0, Family::Other),
    ] {
        assert_eq!(family_of(vendor, family, model), expected, "{vendor} {family:x} {model:x}");
    }
}

#[test]
fn what_is_missing_is_said_with_its_remedy() {
    for (error, why, remedy) in [
        (Errno::NOENT, "shows no hardware counters", "bare metal"),
        (Errno::OPNOTSUPP, "shows no hardware counters", "bare metal"),
        (Errno::ACCESS, "perf_event_paranoid", "root"),
        (Errno::PERM, "perf_event_paranoid", "root"),
        (Errno::NOSYS, "built without", "CONFIG_PERF_EVENTS"),
    ] {
        let omission = omission(&error.into());
        assert!(omission.why.contains(why) && omission.remedy.contains(remedy), "{omission:?}");
        assert!(!omission.why.contains("os error"), "{omission:?}");
    }
    assert!(omission(&Errno::MFILE.into()).why.contains("Too many open files"));
}

#[test]
fn where_counters_are_open_they_count() {
    let Ok(mut counters) = Counters::open() else {
        // As on most virtual machines.
        return;
    };
    let (sum, readings) =
        counters.measure(|| (0..1_000_000u64).fold(0, |a, b| std::hint::black_box(a ^ b))).unwrap();
    assert_eq!(sum, (0..1_000_000u64).fold(0, |a, b| a ^ b));
    let instructions = readings.iter().find(|reading| reading.name == "instructions" && !reading.in_kernel);
    assert!(instructions.is_none_or(|reading| reading.counted == 0.0 || reading.count > 1e6), "{readings:?}");
}

#[test]
fn a_table_has_a_cell_for_each_column() {
    let reading = |count, counted| Reading { name: "walks", in_kernel: false, count, counted };
    let arms =
        [("4k".to_owned(), 10.0, vec![reading(50.0, 1.0)]), ("2m".to_owned(), 10.0, vec![reading(0.0, 0.0)])];
    let table = table("counters", "Counters", &arms);
    assert_eq!(table.columns.len(), 2);
    assert_eq!(table.rows[0], [Cell::Text("4k".to_owned()), Cell::Number(5.0)]);
    assert_eq!(table.rows[1][1], Cell::Unknown(()), "an event that was never counted has no count");
}
