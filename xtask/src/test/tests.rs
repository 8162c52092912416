//! Lists of tests.

use std::process::ExitCode;

#[test]
fn a_list_without_a_test_is_a_failure() {
    // An exit code can be shown, not compared.
    let ends = |names: &[String]| format!("{:?}", super::print_list(names, "nosuch"));
    assert_eq!(ends(&[]), format!("{:?}", ExitCode::FAILURE));
    assert_eq!(ends(&["host/a::b".into()]), format!("{:?}", ExitCode::SUCCESS));
}
