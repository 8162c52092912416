//! Shadow against model, the plan's rules, and the words of a report.

extern crate std;

use core::sync::atomic::AtomicU64;
use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;
use rhumb_machine::{MemoryUse, VirtAddr, VirtRange};

use crate::model::Model;
use crate::plan::BRIDGED_BYTES;
use crate::{Dump, Kind, MAX_REGIONS, Plan, PlanError, Shadow, State};

const BASE: VirtAddr = VirtAddr::new(0xffff_8000_0000_0000);
const PAGE: u64 = 4096;

fn range(offset: u64, bytes: u64) -> VirtRange {
    VirtRange::of_length(BASE.plus(offset), bytes).expect("small numbers")
}

fn words(plan: &Plan) -> Vec<AtomicU64> {
    // The old contents of the memory do not matter.
    (0..plan.words()).map(|_| AtomicU64::new(u64::MAX)).collect()
}

fn with_shadow<T>(ranges: &[VirtRange], test: impl FnOnce(&Shadow<'_>) -> T) -> T {
    let mut plan = Plan::new();
    ranges.iter().for_each(|&range| plan.watch(range).expect("ascending"));
    let words = words(&plan);
    let shadow = plan.lay_out(&words).expect("enough words");
    assert!(shadow.validate());
    test(&shadow)
}

#[test]
fn bytes_and_states_are_the_same_thing() {
    for byte in 0..=255 {
        assert_eq!(State::from_byte(byte).to_byte(), byte);
    }
    assert_eq!(State::from(MemoryUse::Allowed), State::Accessible);
    assert_eq!(State::from(MemoryUse::FreeFrame).to_byte(), 0xff);
    assert_eq!(State::from(MemoryUse::FreeObject).bug(), "use-after-free");
    assert_eq!(State::from(MemoryUse::RedZone).bug(), "slab-out-of-bounds");
}

#[test]
fn an_access_is_judged_by_each_of_its_bytes() {
    with_shadow(&[range(0, PAGE)], |shadow| {
        shadow.set(range(0, PAGE), State::FreeFrame);
        shadow.set(range(64, 21), State::Accessible);
        let allowed = |offset, bytes| shadow.is_allowed(BASE.plus(offset), bytes);
        assert!(allowed(64, 8) && allowed(64, 16) && allowed(80, 4) && allowed(80, 5) && allowed(64, 21));
        assert!(!allowed(80, 6) && !allowed(85, 1) && !allowed(64, 22) && !allowed(63, 1) && !allowed(60, 8));
        assert!(allowed(100, 0));
    });
}

#[test]
fn what_follows_the_last_good_byte_says_why() {
    with_shadow(&[range(0, PAGE)], |shadow| {
        shadow.set(range(20, 12), State::RedZone);
        let found = shadow.check(BASE.plus(16), 8, Kind::Write).expect("past the end");
        assert_eq!((found.first_bad, found.state), (BASE.plus(20), State::RedZone));
        assert_eq!(
            found.to_string(),
            "write of 8 bytes at 0xffff800000000010, of which the byte at 0xffff800000000014 is in the red zone of an object"
        );
        let found = shadow.check(BASE.plus(24), 1, Kind::Read).expect("in the zone");
        assert_eq!(found.to_string(), "read of 1 byte at 0xffff800000000018 is in the red zone of an object");
    });
}

#[test]
fn what_has_no_shadow_may_be_touched() {
    with_shadow(&[range(PAGE, PAGE), range(PAGE << 20, PAGE)], |shadow| {
        shadow.set(range(0, PAGE << 22), State::FreeFrame);
        assert!(shadow.is_allowed(BASE, 8) && shadow.is_allowed(BASE.plus(2 * PAGE), 8));
        assert!(!shadow.is_allowed(BASE.plus(PAGE), 1) && !shadow.is_allowed(BASE.plus(2 * PAGE - 1), 100));
        assert!(!shadow.is_allowed(BASE.plus(PAGE << 20), 1));
        assert_eq!(shadow.state(BASE), None);
        assert_eq!(shadow.state(BASE.plus(PAGE)), Some(State::FreeFrame));
        assert!(shadow.check(BASE, 8, Kind::Read).is_none());
    });
}

#[test]
fn the_compilers_marks_are_taken_as_they_are() {
    with_shadow(&[range(0, PAGE)], |shadow| {
        shadow.fill(BASE.plus(32), 4, 0xf1);
        shadow.fill(BASE.plus(64), 1, 0x00);
        shadow.fill(BASE.plus(72), 1, 0x05);
        shadow.fill(BASE.plus(80), 6, 0xf3);
        assert!(shadow.is_allowed(BASE.plus(64), 13) && !shadow.is_allowed(BASE.plus(64), 14));
        assert_eq!(shadow.check(BASE.plus(77), 1, Kind::Read).expect("past it").state, State::StackRight);
        assert_eq!(shadow.check(BASE.plus(63), 1, Kind::Read).expect("below").state, State::StackLeft);
        // Past the end of what is watched there is nothing to write.
        shadow.fill(BASE.plus(PAGE - 8), 100, 0xf8);
        assert_eq!(shadow.state(BASE.plus(PAGE - 8)), Some(State::StackScope));
    });
}

#[test]
fn small_holes_are_bridged_and_large_ones_are_not() {
    let mut plan = Plan::new();
    plan.watch(range(0, PAGE)).expect("the first");
    plan.watch(range(PAGE + BRIDGED_BYTES, 100)).expect("bridged, and rounded to a page");
    assert_eq!(plan.ranges(), [range(0, 2 * PAGE + BRIDGED_BYTES)]);
    plan.watch(range(3 * PAGE + 2 * BRIDGED_BYTES, PAGE)).expect("a range of its own");
    assert_eq!(plan.ranges().len(), 2);
    assert_eq!(plan.words() as u64, (3 * PAGE + BRIDGED_BYTES) / 64);
}

#[test]
fn plans_that_cannot_be_are_refused() {
    let mut plan = Plan::new();
    plan.watch(range(PAGE, PAGE)).expect("the first");
    plan.watch(range(0, 0)).expect("nothing is watched of nothing");
    assert_eq!(plan.watch(range(0, PAGE)), Err(PlanError::OutOfOrder));
    assert_eq!(plan.watch(range(PAGE + 8, 8)), Err(PlanError::OutOfOrder));
    let last = VirtRange::of_length(VirtAddr::new(u64::MAX - 10), 5).expect("fits");
    assert_eq!(plan.watch(last), Err(PlanError::OutOfOrder));
    for at in 1..MAX_REGIONS as u64 {
        plan.watch(range(at << 30, PAGE)).expect("room for all");
    }
    assert_eq!(plan.watch(range(1 << 40, PAGE)), Err(PlanError::TooManyRanges));
    let words = words(&plan);
    assert!(plan.lay_out(&words).is_ok());
    assert_eq!(plan.lay_out(&words[1..]).err(), Some(PlanError::TooFewWords(words.len())));
}

#[test]
fn a_dump_points_at_the_granule() {
    with_shadow(&[range(0, PAGE)], |shadow| {
        shadow.set(range(0x100, 0x40), State::FreeObject);
        let text = Dump { shadow, address: BASE.plus(0x13a) }.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[2], ">ffff800000000100: fb fb fb fb fb fb fb fb 00 00 00 00 00 00 00 00");
        assert_eq!(lines[3], "                                        ^^");
        assert_eq!(lines[2].get(40..42), Some("fb"));
        let edge = Dump { shadow, address: BASE }.to_string();
        assert!(edge.starts_with(" ffff7fffffffff00: -- --"), "{edge}");
    });
}

proptest! {
    /// Any history of marks leaves the shadow and the model with the same answer to any question.
    #[test]
    fn agrees_with_the_model(
        marks in prop::collection::vec((0..3_u8, 0_u64..9000, 0_u64..300), 1..60),
        asks in prop::collection::vec((0_u64..9000, 0_u64..80), 1..40),
    ) {
        let whole = range(0, 2 * PAGE);
        with_shadow(&[whole], |shadow| {
            let mut model = Model::new(whole);
            for (what, offset, bytes) in marks {
                let range = range(offset, bytes);
                match what {
                    0 => { shadow.set(range, State::Accessible); model.allow(range); }
                    1 => { shadow.set(range, State::FreeObject); model.forbid(range); }
                    _ => { shadow.set(range, State::RedZone); model.forbid(range); }
                }
            }
            for (offset, bytes) in asks {
                let address = BASE.plus(offset);
                let wanted = model.first_bad(range(offset, bytes));
                let found = shadow.check(address, bytes, Kind::Read).map(|found| found.first_bad);
                prop_assert_eq!(found, wanted);
                prop_assert_eq!(shadow.is_allowed(address, bytes), wanted.is_none());
            }
            Ok(())
        })?;
    }
}
