//! The word: each legal step, each illegal one, and the races of a wait, which loom tries in every order.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --target-dir target/models -p rhumb-sched --lib`.

#[cfg(not(any(loom, shuttle)))]
mod steps {
    use crate::word::{Reason, Settled, State, StateWord, Ticket, Wake};

    #[test]
    fn a_thread_starts_once_and_runs_to_its_end() {
        let word = StateWord::new();
        assert!(word.start() && !word.start());
        word.run();
        assert_eq!(word.settle(), Settled::Ready);
        word.run();
        word.end();
        assert_eq!((word.state(), word.settle(), word.state()), (State::Ended, Settled::Gone, State::Gone));
    }

    #[test]
    fn a_wait_ends_once_and_says_why() {
        let word = StateWord::new();
        assert!(word.start());
        word.run();
        let ticket = word.prepare();
        assert_eq!(word.wake(ticket, Reason::TimedOut), Wake::OnCpu);
        assert_eq!(word.wake(ticket, Reason::Woken), Wake::NotWaiting);
        assert_eq!((word.reason(), word.state()), (Reason::TimedOut, State::Running));
        let next = word.prepare();
        assert_eq!((word.settle(), word.ticket()), (Settled::Blocked, Some(next)));
        assert_eq!(word.wake(ticket, Reason::TimedOut), Wake::NotWaiting, "a wait before");
        assert_eq!(word.wake(next, Reason::Cancelled), Wake::OffCpu);
        assert_eq!((word.reason(), word.state(), word.ticket()), (Reason::Cancelled, State::Ready, None));
    }

    #[test]
    fn a_wait_that_is_withdrawn_is_no_wait() {
        let word = StateWord::new();
        assert!(word.start());
        word.run();
        let ticket = word.prepare();
        assert_eq!(word.withdraw(ticket), Reason::None);
        assert_eq!((word.wake(ticket, Reason::Woken), word.settle()), (Wake::NotWaiting, Settled::Ready));
        word.run();
        let ticket = word.prepare();
        assert_eq!(word.wake(ticket, Reason::Woken), Wake::OnCpu);
        assert_eq!(word.withdraw(ticket), Reason::Woken);
    }

    #[test]
    fn a_ticket_is_a_number() {
        assert_eq!(Ticket::from_bits(Ticket::from_bits(5).bits()), Ticket::from_bits(5));
    }

    // Only a debug build panics there.
    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "only ready threads are in queues")]
    fn a_thread_that_runs_is_not_run_again() {
        let word = StateWord::new();
        assert!(word.start());
        word.run();
        word.run();
    }

    // Only a debug build panics there.
    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "a thread that begins to wait is running")]
    fn a_thread_that_has_not_started_does_not_wait() {
        StateWord::new().prepare();
    }

    // Only a debug build panics there.
    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "a thread that a CPU leaves is on that CPU")]
    fn a_thread_in_a_queue_is_not_settled() {
        let word = StateWord::new();
        assert!(word.start());
        word.settle();
    }
}

#[cfg(loom)]
mod races {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use loom::thread;

    use crate::word::{Reason, Settled, State, StateWord, Wake};

    /// One waiter, whose CPU settles it; a waker, and a clock. The thread becomes ready exactly once, by whichever CPU
    /// has it alone, and exactly one of the two has ended the wait.
    #[test]
    fn of_wake_up_and_time_out_one_ends_the_wait_and_one_cpu_takes_the_thread() {
        loom::model(|| {
            let word = Arc::new(StateWord::new());
            let taken = Arc::new(AtomicUsize::new(0));
            assert!(word.start());
            word.run();
            let ticket = word.prepare();
            let enders: std::vec::Vec<_> = [Reason::Woken, Reason::TimedOut]
                .into_iter()
                .map(|reason| {
                    let (word, taken) = (Arc::clone(&word), Arc::clone(&taken));
                    thread::spawn(move || match word.wake(ticket, reason) {
                        Wake::NotWaiting => None,
                        Wake::OnCpu => Some(reason),
                        Wake::OffCpu => {
                            taken.fetch_add(1, Relaxed);
                            Some(reason)
                        }
                    })
                })
                .collect();
            let settled = word.settle();
            if settled == Settled::Ready {
                taken.fetch_add(1, Relaxed);
            }
            let ended: std::vec::Vec<_> =
                enders.into_iter().filter_map(|ender| ender.join().unwrap()).collect();
            assert_eq!(ended, [word.reason()], "one of the two, and the thread knows which");
            assert_eq!((taken.load(Relaxed), word.state()), (1, State::Ready));
        });
    }

    /// A waiter sees its condition while it is woken: it goes on, and knows whether it was woken.
    #[test]
    fn a_wait_that_is_withdrawn_knows_whether_it_was_woken() {
        loom::model(|| {
            let word = Arc::new(StateWord::new());
            assert!(word.start());
            word.run();
            let ticket = word.prepare();
            let waker = {
                let word = Arc::clone(&word);
                thread::spawn(move || word.wake(ticket, Reason::Woken))
            };
            let withdrawn = word.withdraw(ticket);
            let woken = waker.join().unwrap();
            match withdrawn {
                Reason::None => assert_eq!(woken, Wake::NotWaiting),
                _ => assert_eq!((withdrawn, woken), (Reason::Woken, Wake::OnCpu)),
            }
            assert_eq!(word.state(), State::Running);
        });
    }

    /// The CPU that runs a thread next sees, through a waker, all that the thread wrote before it left its CPU.
    #[test]
    fn the_next_cpu_sees_what_the_thread_wrote() {
        loom::model(|| {
            let word = Arc::new(StateWord::new());
            let registers = Arc::new(AtomicUsize::new(0));
            assert!(word.start());
            word.run();
            let ticket = word.prepare();
            let waker = {
                let (word, registers) = (Arc::clone(&word), Arc::clone(&registers));
                thread::spawn(move || {
                    let wake = word.wake(ticket, Reason::Woken);
                    if wake == Wake::OffCpu {
                        word.run();
                        assert_eq!(registers.load(Relaxed), 7, "saved before it was settled");
                    }
                })
            };
            registers.store(7, Relaxed);
            if word.settle() == Settled::Ready {
                word.run();
            }
            waker.join().unwrap();
            assert_eq!(word.state(), State::Running);
        });
    }
}
