//! Teams of CPUs start and stop together.

use super::*;

#[test]
fn a_team_meets_and_shares() {
    let machine = HostedMachine::builder().cpus(3).ram_bytes(1 << 20).build().unwrap();
    let clock = Clock::calibrate();
    let (before, shares) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let seen = run(&machine, 3, clock, |member| {
        before.fetch_add(1, Ordering::SeqCst);
        member.meet();
        assert_eq!(before.load(Ordering::SeqCst), 3);
        shares.fetch_add(member.share(10), Ordering::SeqCst);
        let mut ran = Vec::with_capacity(10);
        let timing = member.timed(10 + member.index, 1, |index| ran.push(index));
        assert!(timing.cpu_ns > 0.0 && timing.done <= 10 + member.index);
        assert_eq!(ran, (0..timing.done).collect::<Vec<_>>());
        // The next phase begins afresh.
        assert!(member.timed(5, 2, |_| ()).done > 0 || member.team_size > 1);
        (member.index, cpu_index())
    });
    assert_eq!(seen, Ok(vec![(0, 0), (1, 1), (2, 2)]));
    assert_eq!(shares.load(Ordering::SeqCst), 10);
    assert!(run(&machine, 4, clock, |_| ()).is_err());
}

#[test]
#[should_panic(expected = "planted")]
fn a_panic_of_one_member_ends_the_team() {
    let machine = HostedMachine::builder().cpus(2).ram_bytes(1 << 20).build().unwrap();
    let _ = run(&machine, 2, Clock::calibrate(), |member| {
        assert!(member.index == 1, "planted");
        member.meet();
    });
}
