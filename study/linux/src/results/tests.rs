//! A study of phases whose values are given: effects, controls, and what is said of the map.

use std::time::Duration;

use rhumb_method::Finding;
use rhumb_study_report::Kind;
use rhumb_study_system::Session;

use super::*;
use crate::proc::counters::{DirectMap, GIB_1, MIB_2, Splits};

/// Returns a moment with so many blocks of 2 MiB in pages of 4 KiB.
fn moment(broken: u64) -> Moment {
    Moment {
        map: DirectMap {
            small: Some(broken * MIB_2),
            mib_2: Some(GIB_1 - broken * MIB_2),
            mib_4: None,
            gib_1: Some(GIB_1),
        },
        splits: Splits { level2_splits: Some(broken), level3_splits: Some(1), ..Splits::default() },
    }
}

/// Returns a phase of twelve blocks for each level, with noise of 1 % that repeats.
fn measured(began_s: f64, levels: &[f64]) -> Measured {
    let noise = [0.99, 1.01, 1.0, 0.995, 1.005, 1.0, 1.01, 0.99, 1.0, 1.005, 0.995, 1.0];
    let blocks = levels.iter().map(|level| noise.iter().map(|noise| level * noise).collect()).collect();
    Measured {
        phase: Phase { began_s, ended_s: began_s + 10.0, blocks },
        readings: Vec::new(),
        in_broken: Some(0.9),
    }
}

fn subjects() -> Vec<Subject> {
    ["pread-64b", "stat"]
        .iter()
        .map(|id| Subject { id: (*id).into(), words: format!("words of {id}") })
        .collect()
}

fn step(broken: u64, ended: Ended) -> Step {
    let (before, after) = (moment(1), moment(broken));
    let blocks = Default::default();
    let broken = Broken { before, after, secret_pages: broken, blocks, ended, took: Duration::from_secs(1) };
    Step { name: name(&before, &after), wanted: MIB_2, broken }
}

fn study(measured: &[(String, Measured)], steps: &[Step]) -> Study {
    let mut study = Session::quiet(std::env::temp_dir()).begin_study(Kind::Linux);
    fill(&mut study, &moment(1), steps, &subjects(), measured, Vec::new());
    study
}

#[test]
fn an_effect_is_found_and_none_is_invented() {
    let steps = [step(52, Ended::Reached), step(103, Ended::Reached)];
    let phases = [
        ("whole map".to_owned(), measured(0.0, &[100.0, 1_000.0])),
        (steps[0].name.clone(), measured(11.0, &[105.0, 1_000.0])),
        (steps[1].name.clone(), measured(22.0, &[110.0, 1_000.0])),
    ];
    let study = study(&phases, &steps);
    let [pread, stat] = &study.comparisons[..] else { panic!("two comparisons") };
    assert_eq!((pread.id.as_str(), stat.id.as_str()), ("linux/pread-64b", "linux/stat"));
    assert_eq!(pread.conditions["cached pages in broken blocks"], "90 %");
    let (pread, stat) = (pread.effect.expect("an effect"), stat.effect.expect("an effect"));
    assert_eq!((pread.finding(), stat.finding()), (Finding::More, Finding::Unseen));
    assert!((pread.ratio - 1.1).abs() < 1e-9);
    assert!((stat.ratio - 1.0).abs() < 1e-9);
    for effect in [pread, stat] {
        let adjusted = effect.adjusted.expect("an interval");
        assert!(adjusted.low <= effect.low && effect.high <= adjusted.high, "{effect:?}");
        assert_eq!(adjusted.low > 1.0, effect.finding() == Finding::More);
        assert!(effect.smallest_detectable.is_some_and(|smallest| smallest > 0.0 && smallest < 0.1));
    }
    assert_eq!(study.controls.len(), 3, "one for each phase");
    assert!(study.controls.iter().all(|control| control.passed));
    let dose = &study.curves[0];
    assert_eq!(dose.series[0].points.len(), 3);
    assert!((dose.series[0].points[2].y - 1.1).abs() < 1e-9);
    assert!(dose.series[0].points[1].x > 4.9 && dose.series[0].points[1].x < 5.1, "{dose:?}");
    for table in &study.tables {
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{}", table.id);
    }
    assert_eq!(study.bars[0].bars.len(), 3);
    assert_eq!(study.bars[0].bars[2].values, [104.0 * 4096.0]);
}

#[test]
fn a_machine_that_drifts_fails_the_control_or_finds_nothing() {
    let drifting = |began_s: f64, level: f64| {
        let mut one = measured(began_s, &[level, 1_000.0]);
        one.phase.blocks[0][6..].iter_mut().for_each(|value| *value *= 1.2);
        one
    };
    let steps = [step(52, Ended::Reached)];
    let phases =
        [("whole map".to_owned(), drifting(0.0, 100.0)), (steps[0].name.clone(), drifting(11.0, 120.0))];
    let study = study(&phases, &steps);
    let effect = study.comparisons[0].effect.expect("an effect");
    assert_eq!(
        effect.finding(),
        Finding::Unseen,
        "20 % within phases, so 20 % between them mean nothing: {effect:?}"
    );
}

#[test]
fn a_workload_that_drifts_alone_is_named() {
    let phase = |began_s: f64| {
        let mut one = measured(began_s, &[100.0, 1_000.0]);
        one.phase.blocks[1][6..].iter_mut().for_each(|value| *value *= 1.2);
        // The quiet one is most of what all workloads share.
        one.phase.blocks[0].iter_mut().for_each(|value| *value = 100.0 + (*value - 100.0) / 10.0);
        one
    };
    let steps = [step(52, Ended::Reached)];
    let study = study(&[("whole map".to_owned(), phase(0.0)), (steps[0].name.clone(), phase(11.0))], &steps);
    let apart = study.notes.iter().find(|note| note.contains("more than the others")).expect("a note");
    assert!(apart.ends_with(": stat."), "{apart}");
}

#[test]
fn one_phase_alone_has_controls_and_times_and_no_comparison() {
    let study = study(&[("whole map".to_owned(), measured(0.0, &[100.0, 1_000.0]))], &[]);
    assert!(study.comparisons.is_empty() && study.curves.is_empty() && study.bars.is_empty());
    assert_eq!(study.controls.len(), 1);
    let ids: Vec<&str> = study.tables.iter().map(|table| table.id.as_str()).collect();
    assert_eq!(ids, ["workloads", "direct-map"]);
}

#[test]
fn an_interrupted_study_keeps_what_there_is() {
    let mut short = measured(11.0, &[100.0, 1_000.0]);
    short.phase.blocks.iter_mut().for_each(|blocks| blocks.truncate(2));
    let steps = [step(10, Ended::Cancelled)];
    let study = study(
        &[("whole map".to_owned(), measured(0.0, &[100.0, 1_000.0])), (steps[0].name.clone(), short)],
        &steps,
    );
    assert_eq!(study.comparisons.len(), 2);
    assert!(study.comparisons.iter().all(|one| one.effect.is_none()), "two blocks are too few");
    assert!(study.tables.iter().any(|table| table.id == "breaking"));
    let empty = Measured {
        phase: Phase { began_s: 0.0, ended_s: 0.0, blocks: vec![] },
        readings: vec![],
        in_broken: None,
    };
    assert!(super::tests::study(&[("whole map".to_owned(), empty)], &[]).controls.is_empty());
}

#[test]
fn comparisons_by_turns_are_adjusted_together_with_the_others() {
    let mut comparison = Comparison {
        id: "placed/pread-64b".into(),
        family: String::new(),
        workload: String::new(),
        baseline: String::new(),
        arm: String::new(),
        conditions: BTreeMap::new(),
        unit: "ns".into(),
        baseline_samples: (0..40).map(|round| 100.0 + f64::from(round % 3)).collect(),
        arm_samples: (0..40).map(|round| 110.0 + f64::from(round % 4)).collect(),
        effect: None,
        stopped: Stopped::Rounds,
    };
    comparison.effect = Effect::of(&comparison.baseline_samples, &comparison.arm_samples, CONFIDENCE);
    let before = comparison.effect.expect("an effect");
    let mut comparisons = [comparison.clone(), comparison];
    adjust(&mut comparisons, 2, &[]);
    let after = comparisons[0].effect.expect("an effect");
    assert!((after.p_adjusted - 2.0 * before.p).abs() < 1e-12);
    assert_eq!((after.ratio, after.low, after.high), (before.ratio, before.low, before.high));
    let adjusted = after.adjusted.expect("an interval");
    assert!(adjusted.low <= before.low && adjusted.low > 1.0);
    assert!((adjusted.confidence - 0.975).abs() < 1e-9);
}
