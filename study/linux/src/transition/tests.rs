//! Numbers of busy CPUs, the work beside them, and the curves.

use rhumb_study_report::Kind;

use super::*;

#[test]
fn numbers_of_busy_cpus_end_with_all_others() {
    assert_eq!(steps(1), [0]);
    assert_eq!(steps(2), [0, 1]);
    assert_eq!(steps(4), [0, 1, 2, 3]);
    assert_eq!(steps(16), [0, 1, 2, 4, 8, 15]);
    assert_eq!(steps(0), [0]);
}

#[test]
fn the_work_runs_beside_busy_threads_and_ends_them() {
    let cpus = cpus();
    for busy in steps(cpus.len()) {
        assert_eq!(with_busy(&cpus, busy, || 7), 7);
    }
}

#[test]
fn pages_are_told_apart_by_the_counter() {
    let mut times = Times::default();
    times.put(900.0, Some(4), Some(5));
    times.put(100.0, Some(5), Some(5));
    times.put(200.0, None, Some(5));
    assert_eq!(times.splitting, [900.0]);
    assert_eq!(times.neighbours, [100.0, 200.0]);
}

#[test]
fn curves_and_table_have_all_kinds() {
    let times = |busy| Times {
        busy,
        splitting: vec![3.0, 1.0, 2.0],
        neighbours: vec![1.0],
        ordinary: vec![0.5],
        secret_freed: vec![0.3],
        ordinary_freed: vec![0.2],
    };
    let mut study = Session::quiet(std::env::temp_dir()).begin_study(Kind::Linux);
    fill(&mut study, &[]);
    assert!(study.curves.is_empty());
    fill(&mut study, &[times(0), times(1)]);
    assert_eq!(study.curves.len(), 2);
    assert_eq!(study.curves[0].series.len(), 3);
    assert_eq!(study.curves[0].series[0].points[1], Point { x: 1.0, y: 2.0, low: 1.5, high: 2.5 });
    assert_eq!(study.tables[0].rows.len(), 10);
    assert!(study.tables[0].rows.iter().all(|row| row.len() == study.tables[0].columns.len()));
}
