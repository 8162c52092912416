//! Random lines are the same for the same seed, and end no run.

use super::{FORBIDDEN, Lines};

#[test]
fn the_same_seed_makes_the_same_lines() {
    let lines = |seed| -> Vec<String> {
        let mut lines = Lines::new(seed, 1 << 28);
        (0..2000).map(|_| lines.line()).collect()
    };
    assert_eq!(lines(7), lines(7));
    assert_ne!(lines(7), lines(8));
}

#[test]
fn no_line_ends_the_run_or_holds_another() {
    let mut lines = Lines::new(1, 1 << 28);
    for _ in 0..20_000 {
        let line = lines.line();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let ends = FORBIDDEN.iter().filter(|&&word| word != "count");
        assert!(!ends.into_iter().any(|word| line.contains(word)), "{line}");
        assert!(!line.starts_with("count"), "{line}");
    }
}
