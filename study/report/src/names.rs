//! The names of a study's files.

/// The whole study, for programs and for `study compare`.
pub const JSON: &str = "study.json";
/// One line for each sample.
pub const SAMPLES: &str = "study.csv";
/// One line for each comparison and control.
pub const EFFECTS: &str = "effects.csv";
/// The page to look at.
pub const PAGE: &str = "study.html";
/// The page that compares several studies.
pub const COMPARE_PAGE: &str = "compare.html";
