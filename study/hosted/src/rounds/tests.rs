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
fn each_round_gives_a_pair_of_each_case_and_arm() {
    let session = Session::quiet(std::env::temp_dir());
    let (arms, measured) = measure(&session, 3);
    assert!(measured.rounds >= 1 && measured.memories >= 1 && measured.memories <= measured.rounds);
    for pairs in measured.pairs.values() {
        assert_eq!(pairs.arm.len() as u32, measured.rounds);
        assert_eq!(pairs.baseline.len(), pairs.arm.len());
        assert!(pairs.arm.iter().chain(&pairs.baseline).all(|ns| *ns > 0.0));
    }
    // A system without large pages has one arm, and its twin.
    let others = arms.seen.len() - 1;
    assert_eq!(measured.pairs.len(), 2 * (others + usize::from(arms.is_twice)));
    let mut study = session.begin_study(rhumb_study_report::Kind::Hosted);
    results::add_comparisons(&mut study, &arms, &measured);
    results::add_counts(&mut study, &arms, &measured);
    results::add_pages(&mut study, &program(3), &arms.seen);
    results::add_notes(&mut study, &program(3), &measured);
    let ids: Vec<&str> = study.comparisons.iter().map(|comparison| comparison.id.as_str()).collect();
    assert_eq!(ids, ["hash-lookup/4k", "hash-lookup/4k/competing-2m"][..2 * others]);
}

#[test]
fn arms_take_turns_where_memory_is_short() {
    let session = Session::quiet(std::env::temp_dir());
    let (arms, measured) = measure(&session, 2);
    assert_eq!(measured.pairs.len(), 2 * (arms.seen.len() - 1 + usize::from(arms.is_twice)));
    assert!(measured.pairs.values().all(|pairs| pairs.arm.len() as u32 == measured.rounds));
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
