//! A CPU's two magazines by themselves.

use core::ptr::NonNull;
use std::boxed::Box;

use crate::magazine::{CpuLine, Magazine, Round};

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
    // For less room, for more, and the one behind again.
    assert_eq!(line.exchange(magazine(2)), None);
    assert_eq!((fill(&line), line.objects(), line.behind()), (2, 8, 6));
    let behind = line.exchange(magazine(10)).unwrap();
    assert_eq!((behind.room(), behind.count()), (6, 6));
    assert_eq!((fill(&line), line.objects(), line.behind()), (10, 12, 2));
    line.swap();
    assert_eq!((fill(&line), line.behind()), (0, 10));
    assert!(line.pop().is_some());
    assert_eq!(fill(&line), 1);
    // With none loaded, nothing is kept.
    let loaded = line.unload().unwrap();
    assert_eq!((loaded.room(), loaded.count(), fill(&line)), (2, 2, 0));
    line.swap();
    assert_eq!((fill(&line), line.objects(), line.has_previous()), (0, 10, false));
    let all = line.take_all();
    assert_eq!((all.len(), all[0].count(), fill(&line)), (1, 10, 0));
}

#[test]
fn an_exchange_leaves_a_request_to_drain() {
    let line = CpuLine::new();
    line.load(magazine(6));
    line.gate.ask();
    for room in [2, 6, 10] {
        let _ = line.exchange(magazine(room));
        assert!(line.gate.is_wanted() && fill(&line) == 0, "{room}");
    }
    line.gate.answer();
    assert_eq!(fill(&line), 0, "the cap is 0 until it is set again");
    line.bound();
    assert_eq!(fill(&line), 10);
}
