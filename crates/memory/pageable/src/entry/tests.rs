use std::vec::Vec;

use super::*;

fn states() -> Vec<State> {
    let mut states = std::vec![State::Untouched, State::Busy];
    for slot in [0, 1, 0xff_ffff_ffff, Slot::MOST, 1 << 40, 0x1234_5678_9abc] {
        states.push(State::Out(Slot::new(slot).unwrap()));
    }
    for pins in [0, 1, MOST_PINS] {
        for was_used in [false, true] {
            states.push(State::Present(Present { pfn: Pfn::new((1 << 40) - 1), pins, was_used }));
            states.push(State::Present(Present { pfn: Pfn::new(0), pins, was_used }));
        }
    }
    states
}

#[test]
fn a_state_comes_back_from_its_entry() {
    for state in states() {
        assert_eq!(State::of(state.entry()), state);
        assert_eq!(state.entry().is_present(), matches!(state, State::Present(_)));
    }
}

#[test]
fn entries_of_others_are_foreign() {
    assert_eq!(State::of(Entry::EMPTY), State::Foreign);
    assert_eq!(State::of(plain(Pfn::new(7))), State::Foreign);
    // A guard that remembers a record: the inverted address of an object of the kernel.
    for record in [0xffff_8000_0000_0040u64, 0xff00_1234_5678_9ac0, 0xffff_ffff_8123_4000] {
        assert_eq!(State::of(Entry::from_bits(!record & !1)), State::Foreign);
    }
    // A page of an area that waits for a flush, which was pageable before.
    let hidden = (plain(Pfn::new(7)).bits() ^ bits::ADDRESS) & !1;
    assert_eq!(State::of(Entry::from_bits(hidden)), State::Foreign);
}

#[test]
fn an_absent_entry_names_no_low_memory() {
    for state in states().into_iter().filter(|state| !matches!(state, State::Present(_))) {
        let slot = match state {
            State::Out(slot) => slot.bits() & 0xff_ffff_ffff,
            _ => 0,
        };
        let named = (state.entry().bits() & bits::ADDRESS) >> 12;
        assert_eq!(named, !slot & 0xff_ffff_ffff);
    }
}
