//! Rounds over subjects, interleaved.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::args::{Command, Options};

#[test]
fn rounds_go_over_all_subjects_and_rotate() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let case = |subject: &'static str, value: f64| {
        let order = Rc::clone(&order);
        let run = Box::new(move || {
            order.borrow_mut().push(subject);
            Ok(vec![Sample::ns("time", value + order.borrow().len() as f64)])
        });
        Case { subject, run }
    };
    let unfit = Case { subject: "c", run: Box::new(|| Err(Unfit("too small".into()))) };
    let cases = vec![case("a", 0.0), case("b", 100.0), unfit];
    let mut options = Options::defaults(Command::Frames);
    options.rounds = 3;
    let report = run(vec![Group { workload: "w".into(), cpus: 1, cases }], &options);
    assert_eq!(*order.borrow(), ["a", "b", "b", "a", "a", "b"]);
    assert_eq!(report.figures().len(), 2);
    assert_eq!(report.figures()[0].summary, Summary { median: 4.0, low: 1.0, high: 5.0 });
    assert_eq!(report.figures()[0].resolution, 0.0);
    assert_eq!(report.notes(), ["w, 1 CPU: c: too small"]);
}

/// The coarsest round says what a figure can tell.
#[test]
fn a_figure_has_the_resolution_of_its_coarsest_round() {
    let mut resolutions = [2.0, 7.0, 3.0].into_iter();
    let run = move || Ok(vec![Sample::resolved_ns("p50", 5.0, resolutions.next().unwrap_or(0.0))]);
    let cases = vec![Case { subject: "a", run: Box::new(run) }];
    let mut options = Options::defaults(Command::Frames);
    options.rounds = 3;
    let report = super::run(vec![Group { workload: "w".into(), cpus: 1, cases }], &options);
    let figure = &report.figures()[0];
    assert_eq!((figure.resolution, figure.is_resolved()), (7.0, false));
}
