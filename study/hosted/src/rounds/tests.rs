use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::backing::Pages;
use crate::results;
use crate::workload::Workload;

/// Returns a small program: two arms, one workload.
fn program(at_once: usize) -> Program {
    let case = |user_space| Case { placement: Placement::Spread, workload: Workload::Names, user_space };
    Program {
        arms: vec![Pages::Mib, Pages::Kib],
        cases: vec![case(UserSpace::Idle), case(UserSpace::Small)],
        bytes: 64 << 20,
        at_once,
        time: Duration::from_secs(3),
    }
}

fn measure(session: &Session, at_once: usize) -> (Arms, Measured) {
    let program = program(at_once);
    let arms = Arms::default().find(&program, session);
    let task = session.task("");
    let measured =
        run(&program, &arms, session, &task, 0.0, Instant::now() + Duration::from_secs(2)).unwrap();
    (arms, measured)
}

#[test]
fn each_memory_gives_a_pair_of_each_case_and_arm() {
    let session = Session::quiet(std::env::temp_dir());
    let (arms, measured) = measure(&session, 3);
    assert!(measured.pair_count() >= 1 && measured.repeats >= 1);
    for pairs in measured.pairs.values() {
        assert_eq!(pairs.arm.len() as u32, measured.pair_count());
        assert_eq!(pairs.baseline.len(), pairs.arm.len());
        assert!(pairs.arm.iter().chain(&pairs.baseline).all(|ns| *ns > 0.0));
    }
    // A system without large pages has one arm, and its twin. A slow one leaves the second case out.
    let others = arms.seen.len() - 1;
    let cases = 2 - measured.left_out.len();
    assert_eq!(measured.pairs.len(), cases * (others + usize::from(arms.is_twice)));
    assert!(measured.pairs.keys().eq(measured.wanted.iter().collect::<BTreeSet<_>>()));
    let mut study = session.begin_study(rhumb_study_report::Kind::Hosted);
    results::add_comparisons(&mut study, &arms, &measured);
    results::add_counts(&mut study, &arms, &measured);
    results::add_pages(&mut study, &program(3), &arms.seen);
    results::add_notes(&mut study, &program(3), &measured);
    let ids: Vec<&str> = study.comparisons.iter().map(|comparison| comparison.id.as_str()).collect();
    assert_eq!(ids, ["hash-lookup/4k", "hash-lookup/4k/competing-2m"][..cases * others]);
}

#[test]
fn arms_take_turns_where_memory_is_short() {
    let session = Session::quiet(std::env::temp_dir());
    let (arms, measured) = measure(&session, 2);
    assert_eq!(measured.wanted.len() % (arms.seen.len() - 1 + usize::from(arms.is_twice)).max(1), 0);
    assert_eq!(measured.pairs.len(), measured.wanted.len());
    assert!(measured.pairs.values().all(|pairs| pairs.arm.len() as u32 == measured.pair_count()));
}

#[test]
fn a_study_that_the_user_ends_keeps_whole_cases_alone() {
    let session = Session::quiet(std::env::temp_dir());
    session.end();
    let program = program(3);
    let task = session.task("");
    let arms = Arms::default().find(&program, &session);
    assert!(arms.seen.is_empty(), "no arm is tried after the end");
    let measured = run(&program, &arms, &session, &task, 0.0, Instant::now()).unwrap();
    assert!(measured.pairs.is_empty());
}

#[test]
fn nothing_measured_is_not_precise() {
    let case = program(3).cases[0];
    let arms = [Arm::Of(Pages::Mib), Arm::Of(Pages::Kib), Arm::Again];
    let scope = Scope { cases: vec![case], arms: vec![Pages::Mib, Pages::Kib], left_out: Vec::new() };
    let mut measured = Measured::new(Duration::ZERO, &scope, &[arms.into()]);
    assert!(!measured.is_precise(1.0), "each baseline lost its pages");
    let pairs = Pairs { baseline: vec![1.0; 14], arm: vec![1.0; 14] };
    measured.pairs.insert((case, arms[1]), pairs.clone());
    assert!(!measured.is_precise(1.0), "the other arm was never had");
    assert_eq!(measured.pair_count(), 0);
    measured.pairs.insert((case, arms[2]), pairs);
    assert!(measured.is_precise(1.0));
    assert_eq!(measured.pair_count(), 14);
    assert!(!Measured::new(Duration::ZERO, &scope, &[]).is_precise(1.0), "nothing was to be measured");
}

/// Returns the share of simulated studies without an effect that raise a false alarm at 0.05, and that of those that take
/// each round for a pair. The luck of a memory is as large as the noise of a round.
fn false_alarms(memories: usize, rounds: usize) -> (f64, f64) {
    const STUDIES: usize = 1_000;
    let mut random = Pcg64Mcg::seed_from_u64(1);
    // The sum of twelve evenly distributed numbers is as good as normal.
    let mut normal = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    let is_alarm = |arm: &[f64]| {
        Effect::of(&vec![1.0; arm.len()], arm, CONFIDENCE).is_some_and(|effect| effect.p <= 1.0 - CONFIDENCE)
    };
    let mut alarms = (0, 0);
    for _ in 0..STUDIES {
        let mut samples: Vec<Vec<f64>> = Vec::new();
        for _ in 0..memories {
            let luck = normal();
            samples.push((0..rounds).map(|_| (0.01 * (luck + normal())).exp()).collect());
        }
        let pairs: Vec<f64> = samples.iter().filter_map(|rounds| mean_of_rounds(rounds)).collect();
        alarms.0 += usize::from(is_alarm(&pairs));
        alarms.1 += usize::from(is_alarm(&samples.concat()));
    }
    (alarms.0 as f64 / STUDIES as f64, alarms.1 as f64 / STUDIES as f64)
}

#[test]
fn the_luck_of_memories_raises_no_false_alarms() {
    for (memories, rounds) in [(14, 1), (14, 3), (12, 6), (6, 3)] {
        let (by_pairs, by_rounds) = false_alarms(memories, rounds);
        assert!(by_pairs <= 0.05, "{memories} memories, {rounds} rounds: {by_pairs}");
        assert!(rounds == 1 || by_rounds > 0.1, "the simulation shows no luck: {by_rounds}");
    }
}
