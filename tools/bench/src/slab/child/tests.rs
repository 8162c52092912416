//! Figures that a child process hands over.

use super::*;

#[test]
fn what_is_said_is_heard() {
    let samples = [Sample::ns("time", 2.125), Sample::count("wrong", "objects", Better::Lower, 3)];
    let heard: Option<Vec<Sample>> = said(&samples).lines().map(heard).collect();
    assert_eq!(heard.as_deref(), Some(&samples[..]));
    for line in ["", "time ns lower", "time ns lower x", "time ns lower 1 2", "tim ns lower 1"] {
        assert_eq!(super::heard(line), None, "{line}");
    }
}
