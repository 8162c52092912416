//! Metrics: their names, their escapes, their bounds, and how a file of them changes.

use std::fs;
use std::os::unix::fs::symlink;

use super::super::sample::{process, survey};
use super::super::scan::{Hold, Holder};
use super::*;
use crate::proc::mappings::FileId;

/// Parses a page as a collector does, and returns its samples.
fn samples(page: &str) -> Vec<(String, f64)> {
    let mut samples = Vec::new();
    let mut metric = String::new();
    for line in page.lines() {
        if line == "# EOF" {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# ") {
            metric = rest.split(' ').nth(1).expect("a name").to_owned();
            continue;
        }
        assert!(line.starts_with(&metric), "{line} after the head of {metric}");
        let rest = &line[metric.len()..];
        let end = if rest.starts_with('{') { labels_end(rest) } else { 0 };
        let value = rest[end..].strip_prefix(' ').expect("a value").parse().expect("a number");
        samples.push((line[..metric.len() + end].to_owned(), value));
    }
    samples
}

/// Returns where labels end, with quotes and escapes as the format has them.
fn labels_end(text: &str) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, sign) in text.char_indices() {
        match sign {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '}' if !is_quoted => return at + 1,
            _ => {}
        }
    }
    panic!("labels without an end: {text}");
}

#[test]
fn a_page_is_what_collectors_parse() {
    let page = metrics(&survey());
    let samples = samples(&page);
    let value = |name: &str| samples.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
    assert_eq!(value("rhumb_direct_map_bytes{page=\"4k\"}"), Some(134_217_728.0));
    assert_eq!(value("rhumb_direct_map_bytes{page=\"4m\"}"), None, "this kernel has none");
    assert_eq!(value("rhumb_direct_map_splits_total{level=\"2\"}"), Some(40.0));
    assert_eq!(value("rhumb_direct_map_collapses_total{level=\"3\"}"), None, "not known is no zero");
    assert_eq!(value("rhumb_secret_memory_holders"), Some(2.0));
    assert_eq!(value("rhumb_secret_memory_descriptors"), Some(5.0));
    assert_eq!(value("rhumb_secret_memory_size_bytes"), Some(f64::from((4 << 20) + (32 << 10))));
    assert_eq!(value("rhumb_hibernation_blocked_by_secret_memory"), Some(1.0));
    let hostile = "rhumb_secret_memory_holder_bytes{command=\"e\u{fffd}[31m\\\"\\\\\\nx\",user=\"ada\",container=\"4f1a\"}";
    assert_eq!(value(hostile), Some(32_768.0), "{page}");
    let heads = page.lines().filter(|line| line.starts_with("# TYPE"));
    let names: std::collections::BTreeSet<&str> = heads.clone().collect();
    assert_eq!(names.len(), heads.count(), "each metric has one head");
}

/// Readers of both formats take a page, and of one with hostile names as well.
#[test]
fn readers_of_both_formats_take_a_page() {
    let mut survey = survey();
    survey.splits.level3_collapses = Some(3);
    let page = metrics(&survey);
    assert!(page.ends_with("\n# EOF\n"));
    let open = openmetrics_parser::openmetrics::parse_openmetrics(&page).expect("OpenMetrics");
    let old = openmetrics_parser::prometheus::parse_prometheus(&page).expect("Prometheus' text format");
    for name in
        ["rhumb_direct_map_splits_total", "rhumb_secret_memory_holder_bytes", "rhumb_who_time_seconds"]
    {
        assert!(open.families.contains_key(name) && old.families.contains_key(name), "{name}");
    }
}

#[test]
fn many_holders_are_few_samples() {
    let mut survey = survey();
    let (file, hold) = (FileId { device: 14, inode: 2 }, Hold { descriptors: 1, ..Hold::default() });
    for pid in 100..400 {
        let process = process(pid, &format!("name{pid}"));
        survey.scan.holders.insert(pid, Holder { process, files: [(file, hold)].into() });
    }
    let samples = samples(&metrics(&survey));
    let holders: Vec<_> = samples.iter().filter(|(name, _)| name.contains("holder_bytes")).collect();
    assert_eq!(holders.len(), HOLDERS + 1);
    let sum: f64 = holders.iter().map(|(_, bytes)| bytes).sum();
    let rows: u64 = rows(&survey).iter().map(|row| row.bytes).sum();
    assert_eq!(sum, rows as f64, "the rest is not lost");
}

#[test]
fn names_that_are_written_alike_are_one_sample() {
    let mut survey = survey();
    let (file, hold) = (FileId { device: 14, inode: 2 }, Hold { descriptors: 1, ..Hold::default() });
    for (pid, name) in [(100, "a\u{1}b"), (101, "a\u{2}b"), (102, "a\u{fffd}b")] {
        survey.scan.holders.insert(pid, Holder { process: process(pid, name), files: [(file, hold)].into() });
    }
    let samples = samples(&metrics(&survey));
    let names: std::collections::BTreeSet<&str> = samples.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), samples.len(), "each sample once");
    let sum = samples.iter().find(|(name, _)| name.contains("a\u{fffd}b")).map(|(_, bytes)| *bytes);
    assert_eq!(sum, Some(f64::from(3 * (4 << 20))));
}

#[test]
fn a_file_changes_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rhumb.prom");
    write("one\n", &path).expect("written");
    write("two\n", &path).expect("written");
    assert_eq!(fs::read_to_string(&path).expect("readable"), "two\n");
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "a collector with a user of its own reads it");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing else is left");
    let error = write("three\n", &folder.path().join("missing/rhumb.prom")).expect_err("no such folder");
    assert!(error.to_string().contains("make its folder"), "{error}");
    assert!(write("four\n", Path::new("/")).is_err());
}

#[test]
fn no_link_is_followed_and_no_device_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, victim) = (folder.path().join("rhumb.prom"), folder.path().join("victim"));
    fs::write(&victim, "old").expect("written");
    let guessed = format!(".rhumb.prom.{}.new", std::process::id());
    symlink(&victim, folder.path().join(guessed)).expect("a link");
    write("new\n", &path).expect("written");
    assert_eq!(fs::read_to_string(&victim).expect("readable"), "old");
    fs::remove_file(&path).expect("removed");
    symlink(&victim, &path).expect("a link");
    assert!(write("new\n", &path).is_err(), "a link is no file");
    assert_eq!(fs::read_to_string(&victim).expect("readable"), "old");
}
