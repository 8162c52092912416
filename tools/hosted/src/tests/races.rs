//! ThreadSanitizer itself: only if it reports a race that is there, its silence says something.

use std::cell::UnsafeCell;
use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A word that one thread hands to another.
struct HandedOver {
    word: UnsafeCell<u64>,
    ready: AtomicBool,
    /// The reader is done. Until then the writer lives: of a thread that has ended ThreadSanitizer may have forgotten
    /// what it did, and reports nothing then.
    taken: AtomicBool,
}

// SAFETY: it is not, where a thread says with too weak an ordering that the word is ready: that is the race on purpose.
unsafe impl Sync for HandedOver {}

impl HandedOver {
    fn pass(publish: Ordering, look: Ordering) -> u64 {
        let passed =
            Self { word: UnsafeCell::new(0), ready: AtomicBool::new(false), taken: AtomicBool::new(false) };
        let giver = &passed;
        thread::scope(|scope| {
            scope.spawn(move || {
                // SAFETY: the other thread reads the word after this one has said that it is ready.
                unsafe { giver.word.get().write(7) };
                giver.ready.store(true, publish);
                while !giver.taken.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            });
            while !passed.ready.load(look) {
                thread::yield_now();
            }
            // SAFETY: the thread that wrote it has said so.
            let word = unsafe { passed.word.get().read() };
            passed.taken.store(true, Ordering::Relaxed);
            word
        })
    }
}

/// The orderings of a lock or a magazine in one process, an ordering too weak in another: a release that is none.
#[test]
fn a_hand_over_without_a_release_is_reported() {
    const PUBLISH: &str = "RHUMB_PUBLISH_RELAXED";
    const NAME: &str = "tests::races::a_hand_over_without_a_release_is_reported";
    if env::var_os(PUBLISH).is_some() {
        HandedOver::pass(Ordering::Relaxed, Ordering::Acquire);
        return;
    }
    assert_eq!(HandedOver::pass(Ordering::Release, Ordering::Acquire), 7);
    let racing =
        Command::new(env::current_exe().unwrap()).args(["--exact", NAME]).env(PUBLISH, "").output().unwrap();
    let said = String::from_utf8_lossy(&racing.stderr);
    assert!(said.contains("ThreadSanitizer: data race"), "{racing:?}");
    assert!(said.contains("HandedOver"), "the report does not name the code: {said}");
    assert!(!racing.status.success(), "a process with a race ends well");
}
