//! Every interleaving of small cases: `RUSTFLAGS="--cfg loom" cargo test -p rhumb-klog --lib --release loom`.

use ::loom::sync::Arc;
use ::loom::thread;

use super::*;

/// loom runs a case many times, and wants what is shared to be made within it.
fn ring(slots: usize) -> Arc<Ring<'static>> {
    let slots: Vec<Slot> = (0..slots).map(|_| Slot::new()).collect();
    Arc::new(Ring::new(slots.leak()))
}

fn write(ring: &Arc<Ring<'static>>, number: u64) -> thread::JoinHandle<()> {
    let ring = ring.clone();
    thread::spawn(move || ring.write(&telling(number)))
}

/// Reads all tickets there are; how many records it saw.
fn read_all(ring: &Ring<'_>) -> u64 {
    let records = ring.tickets().filter_map(|ticket| ring.read(ticket).ok());
    records.map(|record| assert_whole(&record)).count() as u64
}

#[test]
fn a_reader_sees_whole_records_while_the_only_slot_is_written_again() {
    ::loom::model(|| {
        let ring = ring(1);
        ring.write(&telling(1));
        let writer = write(&ring, 2);
        read_all(&ring);
        writer.join().unwrap();
        assert_eq!(read_all(&ring), 1);
    });
}

#[test]
fn two_writers_never_mix_their_records() {
    ::loom::model(|| {
        let ring = ring(1);
        let writer = write(&ring, 1);
        ring.write(&telling(2));
        writer.join().unwrap();
        let seen = read_all(&ring);
        assert!(seen <= 1 && seen + ring.lost() >= 2);
    });
}

/// Each of two CPUs adds something and asks; the CPU that has the turn takes all there is. Nothing is left, and never
/// are both at it.
#[test]
fn what_is_asked_for_is_done_by_one_of_two() {
    use rhumb_sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

    ::loom::model(|| {
        let shared = Arc::new((Turn::new(), AtomicU64::new(0), AtomicU64::new(0)));
        let log = |shared: &(Turn, AtomicU64, AtomicU64)| {
            let (turn, waiting, shown) = shared;
            waiting.fetch_add(1, SeqCst);
            turn.ask();
            turn.run(|| {
                // Not atomic as a whole: two at it at once would lose one.
                let taken = waiting.swap(0, SeqCst);
                shown.store(shown.load(Relaxed) + taken, Relaxed);
            });
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || log(&shared))
        };
        log(&shared);
        other.join().unwrap();
        assert_eq!((shared.1.load(SeqCst), shared.2.load(SeqCst)), (0, 2));
    });
}

#[test]
fn a_reader_and_two_writers() {
    let mut model = ::loom::model::Builder::new();
    // All interleavings with up to this many switches at awkward moments.
    model.preemption_bound = Some(3);
    model.check(|| {
        let ring = ring(2);
        let writers = [write(&ring, 1), write(&ring, 2)];
        read_all(&ring);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(read_all(&ring), 2);
    });
}
