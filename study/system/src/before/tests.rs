use rhumb_study_report::Kind;

use super::*;

#[test]
fn a_study_that_ends_before_its_machine_is_measured_has_neither_noise_nor_controls() {
    let session = Session::quiet(std::env::temp_dir());
    let mut study = session.begin_study(Kind::Hosted);
    session.end();
    measure_machine(&session, &mut study, Rounds { number: 16, remedy: "" });
    assert_eq!((study.noise, study.controls.len(), study.omissions.len()), (None, 0, 0));
}
