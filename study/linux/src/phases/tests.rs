//! A phase of small workloads, whole and interrupted.

use std::time::Duration;

use super::*;

const SIZES: Sizes =
    Sizes { cached_bytes: 1 << 20, files: 20, forked_bytes: 1 << 20, sample: Duration::from_micros(100) };

#[test]
fn a_phase_has_its_blocks_and_leaves_nothing() {
    let scratch = tempfile::tempdir().expect("a folder");
    let session = Session::quiet(scratch.path().into());
    let mut phases = Phases::new(&session, SIZES, scratch.path(), 7, WithPrograms::No);
    let measured = phases.measure("before", &BTreeSet::new(), None);
    assert_eq!(measured.phase.blocks.len(), phases.subjects.len());
    assert!(
        measured
            .phase
            .blocks
            .iter()
            .all(|blocks| blocks.len() == 7 && blocks.iter().all(|value| *value > 0.0))
    );
    assert!(measured.phase.ended_s > measured.phase.began_s);
    assert_eq!(measured.in_broken, None, "nothing is broken");
    assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 0);
    session.end();
    let ended = phases.measure("after", &BTreeSet::new(), None);
    assert_eq!(ended.phase.blocks.len(), phases.subjects.len());
    assert!(ended.phase.blocks.iter().all(Vec::is_empty));
}
