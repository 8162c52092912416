//! A CPU's part of a cache, by itself.

use core::ptr::NonNull;
use std::boxed::Box;

use crate::line::{CpuLine, KEPT, MOST_FULL};
use crate::magazine::{Magazine, Round, Stack};

/// Returns an empty magazine for at most 30 rounds, in memory that the test leaks.
fn magazine(room: u32) -> Magazine {
    let cell = Box::leak(Box::new([0_u64; 32]));
    // SAFETY: 256 bytes that no other code has, aligned as the header, with 30 rounds beside it.
    unsafe { Magazine::place(NonNull::from(cell).cast(), room) }
}

/// Keeps objects in the line until it refuses one, and says how many it has kept.
fn fill(line: &CpuLine) -> usize {
    let object: Round = NonNull::<u64>::dangling().cast();
    (0..100).take_while(|_| line.push(object)).count()
}

#[test]
fn a_line_keeps_as_much_as_its_magazine_has_room_for() {
    let line = CpuLine::new();
    assert_eq!(fill(&line), 0, "there is no magazine");
    line.load(magazine(6));
    assert_eq!(fill(&line), 6);
    // For less room, for more, and the last one again.
    line.exchange(magazine(2));
    assert_eq!((fill(&line), line.objects(), line.full.objects()), (2, 8, 6));
    line.exchange(magazine(10));
    assert_eq!((fill(&line), line.objects(), line.full.objects()), (10, 18, 8));
    assert!(line.load_full());
    assert_eq!((fill(&line), line.full.objects()), (0, 16), "the one of two rounds");
    assert!(line.pop().is_some());
    assert_eq!(fill(&line), 1);
    // With none loaded, nothing is kept.
    let loaded = line.unload().unwrap();
    assert_eq!((loaded.room(), loaded.count(), fill(&line)), (2, 2, 0));
    assert!(line.load_full());
    assert_eq!((fill(&line), line.objects()), (0, 16));
    let all = line.take_all();
    assert_eq!((all.count, all.objects, fill(&line)), (2, 16, 0));
    assert!(!line.has_magazines() && !line.load_full());
}

#[test]
fn an_exchange_leaves_a_request_to_drain() {
    let line = CpuLine::new();
    line.load(magazine(6));
    line.gate.ask();
    for room in [2, 6, 10] {
        line.exchange(magazine(room));
        assert!(line.gate.is_wanted() && fill(&line) == 0, "{room}");
    }
    line.gate.answer();
    assert_eq!(fill(&line), 0, "the cap is 0 until it is set again");
    line.bound();
    assert_eq!(fill(&line), 10);
}

/// The magazines that were used least lately leave, and those used last stay.
#[test]
fn the_coldest_magazines_leave() {
    let line = CpuLine::new();
    for room in 1..=MOST_FULL + 1 {
        assert!(line.excess_full(MOST_FULL, KEPT).is_none(), "{room}");
        line.exchange(magazine(room));
        assert_eq!(fill(&line), room as usize);
    }
    let rooms =
        |stack: &mut Stack| stack.drain().map(|magazine| magazine.room()).collect::<std::vec::Vec<_>>();
    assert_eq!(rooms(&mut line.excess_full(MOST_FULL, KEPT).unwrap()), [2, 1]);
    assert_eq!(line.full.count(), KEPT);
    assert!(line.excess_full(MOST_FULL, KEPT).is_none(), "the next one leaves after as many more");
    let all = line.take_all();
    line.put_back(all);
    for room in [5, 4, 3] {
        assert_eq!(line.unload().map(|loaded| loaded.room()), Some(room), "each is where it was");
        line.load_full();
    }
}

#[test]
fn empty_magazines_past_those_that_are_kept_leave() {
    let line = CpuLine::new();
    for room in 1..=5 {
        line.exchange(magazine(room));
    }
    assert_eq!(line.excess_empty().count, 4 - KEPT);
    assert_eq!(line.excess_empty().count, 0);
    let mut more = Stack::default();
    more.push(magazine(6));
    line.take_empty_from(&mut more);
    assert_eq!(more.count, 1, "there are as many as are kept");
    assert_eq!(line.take_empty().unwrap().room(), 4, "the one that was used last");
    line.take_empty_from(&mut more);
    assert_eq!(more.count, 0);
}
