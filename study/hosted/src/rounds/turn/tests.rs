use rhumb_study_system::Session;

use super::super::scope::Scope;
use super::*;
use crate::arms::Seen;
use crate::backing::got::Got;
use crate::workload::Workload;

const CASE: Case =
    Case { placement: Placement::Dense, workload: Workload::Zero, user_space: UserSpace::Idle };

/// Returns a world of 4-KiB pages whose backing claims to have pages of another size.
fn world(claim: Pages) -> (Arm, Pages, World) {
    let backing = Backing::new(Pages::Kib, 64 << 20, 1).unwrap().claiming(claim);
    (Arm::Of(claim), claim, World::new(backing, Placement::Dense, 1).unwrap())
}

/// Returns the arms whose samples are kept, of these worlds, and the reasons why others are not.
fn kept(worlds: &[(Arm, Pages, World)]) -> (Vec<Arm>, BTreeSet<String>) {
    let session = Session::quiet(std::env::temp_dir());
    let task = session.task("");
    let program = Program {
        arms: Vec::new(),
        cases: vec![CASE],
        bytes: 64 << 20,
        at_once: 3,
        time: Duration::from_secs(1),
    };
    let mut arms = Arms::default();
    arms.seen.push(Seen {
        pages: worlds[0].1,
        source: "",
        got: Got::default(),
        placed: None,
        tables_bytes: None,
    });
    let batches = BTreeMap::new();
    let turn = Turn { program: &program, arms: &arms, task: &task, batches: &batches, repeats: 1, seed: 1 };
    let scope = Scope { cases: vec![CASE], arms: Vec::new(), left_out: Vec::new() };
    let groups = [worlds.iter().map(|(arm, ..)| *arm).collect()];
    let mut measured = Measured::new(Duration::ZERO, &scope, &groups);
    // Two rounds on the same memory are one pair.
    let samples = BTreeMap::from([(CASE, vec![vec![1.0; worlds.len()], vec![4.0; worlds.len()]])]);
    turn.keep(worlds, &samples, &mut measured);
    let is_whole = measured.pairs.len() == worlds.len() - 1;
    assert_eq!(measured.pair_count(), u32::from(is_whole), "what was thrown away does not count");
    assert!(measured.pairs.values().all(|pairs| pairs.arm.len() == 1 && (pairs.arm[0] - 2.0).abs() < 1e-9));
    (measured.pairs.into_keys().map(|(_, arm)| arm).collect(), measured.discarded)
}

#[test]
fn samples_of_an_arm_that_lost_its_pages_are_thrown_away() {
    let worlds = [world(Pages::Kib), world(Pages::Mib)];
    let (arms, discarded) = kept(&worlds);
    assert!(arms.is_empty());
    let reason =
        "while they were in use, 2-MiB pages were wanted, and the system gave 64 MiB in pages of 4 KiB";
    assert!(discarded.contains(reason), "{discarded:?}");
    let mut again = world(Pages::Kib);
    again.0 = Arm::Again;
    let [first, _] = worlds;
    assert_eq!(kept(&[first, again]), (vec![Arm::Again], BTreeSet::new()));
}

#[test]
fn without_its_baseline_no_sample_is_kept() {
    let (arms, discarded) = kept(&[world(Pages::Mib), world(Pages::Kib)]);
    assert!(arms.is_empty());
    assert_eq!(discarded.len(), 1);
}
