//! Threads as CPUs: torn records would be seen here, with luck; loom's tests need none.

use core::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

const RECORDS: u64 = 60_000;

/// Writers of one ring and readers of it at once. A short ring is overwritten under the readers' eyes all the time.
fn race(slots: usize, writers: u64) {
    let slots: Vec<Slot> = (0..slots).map(|_| Slot::new()).collect();
    let (ring, is_done) = (Ring::new(&slots), AtomicBool::new(false));
    let (ring, is_done) = (&ring, &is_done);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    let (mut seen, mut is_last) = (0u64, false);
                    while !is_last {
                        is_last = is_done.load(Ordering::Relaxed);
                        for ticket in ring.tickets() {
                            if let Ok(record) = ring.read(ticket) {
                                assert_whole(&record);
                                seen += 1;
                            }
                        }
                    }
                    seen
                })
            })
            .collect();
        let writers: Vec<_> = (0..writers)
            .map(|writer| {
                scope.spawn(move || {
                    for number in (writer..RECORDS).step_by(writers as usize) {
                        // Numbers of one and of many digits, so that a mixture of two cannot look like a third.
                        ring.write(&telling(if number % 2 == 0 { number } else { number << 40 }));
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert!(ring.tickets().end >= RECORDS);
    let kept = ring.tickets().filter(|&ticket| ring.read(ticket).is_ok()).count() as u64;
    assert!(ring.lost() + kept >= RECORDS, "{} lost, {kept} kept", ring.lost());
}

#[test]
fn readers_see_whole_records_of_one_writer() {
    race(1, 1);
    race(3, 1);
}

#[test]
fn readers_see_whole_records_of_many_writers() {
    race(2, 3);
    race(64, 3);
}
