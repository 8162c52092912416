//! Columns for wide and narrow terminals.

use super::super::rows::rows;
use super::super::sample::survey;
use super::*;

#[test]
fn rows_fit_and_keep_what_matters() {
    let rows = rows(&survey());
    for width in [60, 72, 80, 100] {
        let columns = Columns::of(&rows, width);
        let lines: Vec<String> = rows.iter().map(|row| columns.line(row, 1_000.0)).collect();
        for line in lines.iter().chain([&columns.heading()]) {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        for title in ["PID", "COMMAND", "SIZE", "TOUCHED", "AGE"] {
            assert!(columns.heading().contains(title), "{title} at {width}");
        }
    }
    let wide = Columns::of(&rows, 100);
    assert!(wide.heading().contains("CONTAINER") && wide.heading().contains("INNER"));
    assert!(wide.legend(&rows).contains("INNER: ") && wide.legend(&rows).contains("FD: "));
    assert!(wide.legend(&rows).contains("s: another") && !wide.legend(&rows[..0]).contains("s: another"));
    assert!(!Columns::of(&rows, 60).legend(&rows).contains("INNER"), "only what is shown");
    assert!(Columns::of(&rows, 0).heading().contains("SIZE"));
}

#[test]
fn columns_without_a_value_are_left_out() {
    let rows: Vec<_> = rows(&survey()).into_iter().filter(|row| row.container.is_none()).collect();
    let heading = Columns::of(&rows, 200).heading();
    assert!(!heading.contains("CONTAINER") && !heading.contains("INNER"), "{heading}");
}
