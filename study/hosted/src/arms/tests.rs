use std::time::Duration;

use super::*;

fn program(at_once: usize) -> Program {
    Program {
        arms: vec![Pages::Gib, Pages::Mib, Pages::Aged(8), Pages::Kib],
        cases: Vec::new(),
        bytes: 64 << 20,
        at_once,
        time: Duration::from_secs(1),
    }
}

#[test]
fn missing_arms_are_omissions_with_a_remedy() {
    let session = Session::quiet(std::env::temp_dir());
    let arms = Arms::default().find(&program(5), &session);
    let gib = &arms.omissions[0];
    assert_eq!(gib.part, "1-GiB pages");
    assert_eq!(gib.why, "64 MiB is smaller than one 1-GiB page.");
    assert_eq!(gib.remedy, "Choose another --memory.");
    assert_eq!(arms.seen.last().unwrap().pages, Pages::Kib, "every system has small pages");
    assert_eq!(arms.seen.len() + arms.omissions.len(), 4 + usize::from(!arms.is_twice));
    assert_eq!(arms.pages(Arm::Again), arms.baseline());
}

#[test]
fn the_ladder_has_small_pages_also_where_memory_is_short() {
    let session = Session::quiet(std::env::temp_dir());
    for at_once in [2, 3, 5] {
        let arms = Arms::default().find(&program(at_once), &session);
        assert_eq!(arms.whole.last().unwrap().pages(), Pages::Kib);
        assert!(arms.whole.len() <= at_once);
    }
}

#[test]
fn each_group_begins_with_the_baseline() {
    let seen = |pages| Seen { pages, source: "", got: Got::default(), placed: None, tables_bytes: None };
    let arms = Arms {
        seen: [Pages::Gib, Pages::Mib, Pages::Kib].map(seen).into(),
        is_twice: true,
        ..Arms::default()
    };
    let (gib, mib, kib) = (Arm::Of(Pages::Gib), Arm::Of(Pages::Mib), Arm::Of(Pages::Kib));
    let all = [Pages::Gib, Pages::Mib, Pages::Kib];
    assert_eq!(arms.groups(4, &all), [vec![gib, Arm::Again, mib, kib]]);
    assert_eq!(arms.groups(3, &all), [vec![gib, Arm::Again, mib], vec![gib, kib]]);
    assert_eq!(arms.groups(2, &all), [vec![gib, Arm::Again], vec![gib, mib], vec![gib, kib]]);
    assert_eq!(arms.groups(4, &[Pages::Gib, Pages::Kib]), [vec![gib, Arm::Again, kib]]);
    assert!(Arms::default().groups(3, &all).is_empty());
}
