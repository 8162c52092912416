//! Holders in their order.

use super::super::sample::{process, survey};
use super::super::scan::{GuestMemory, Hold, Holder, SecretFile};
use super::*;
use crate::proc::mappings::FileId;

#[test]
fn a_shared_file_counts_for_each_holder_and_once_in_the_sum() {
    let survey = survey();
    let rows = rows(&survey);
    assert_eq!(rows.iter().map(|row| row.pid).collect::<Vec<_>>(), [7, 8], "the largest first");
    assert_eq!(rows[0].bytes, (32 << 10) + (4 << 20));
    assert_eq!((rows[0].descriptors, rows[0].mappings, rows[0].files, rows[0].shared_files), (3, 1, 2, 1));
    assert_eq!(rows[0].since_unix_s, Some(940.0), "the oldest file");
    assert_eq!(rows[0].touched_bytes, Some(8 << 10));
    assert_eq!((rows[1].bytes, rows[1].shared_files, rows[1].touched_bytes), (32 << 10, 1, Some(0)));
    assert_eq!(survey.scan.secret_bytes(), (32 << 10) + (4 << 20));
}

#[test]
fn a_user_without_a_name_is_a_number() {
    assert_eq!(user("ada:x:1000:1000::/:/bin/sh", Some(1000)), "ada");
    assert_eq!(user("", Some(1000)), "1000");
    assert_eq!(user("", None), "?");
}

#[test]
fn sizes_that_processes_choose_do_not_wrap() {
    let mut survey = survey();
    let (at_most, id) = (i64::MAX as u64 & !4095, |inode| FileId { device: 14, inode });
    survey.scan.files =
        (1..=3).map(|inode| (id(inode), SecretFile { bytes: at_most, ..SecretFile::default() })).collect();
    let files = (1..=3).map(|inode| (id(inode), Hold { descriptors: 1, ..Hold::default() })).collect();
    survey.scan.holders = [(7, Holder { process: process(7, "liar"), files })].into();
    survey.scan.guests = vec![GuestMemory {
        process: process(9, "vmm"),
        files: (1..=3).map(|inode| (id(inode), at_most)).collect(),
    }];
    assert_eq!(survey.scan.secret_bytes(), u64::MAX);
    assert_eq!(rows(&survey)[0].bytes, u64::MAX);
    let metrics = super::super::metrics::metrics(&survey);
    for name in [
        "rhumb_secret_memory_size_bytes",
        "rhumb_guest_memory_bytes",
        "rhumb_secret_memory_holder_bytes{command=\"liar\",user=\"ada\",container=\"\"}",
    ] {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        assert_eq!(line.and_then(|value| value.parse().ok()), Some(u64::MAX as f64), "{name}");
    }
    let text = super::super::text::text(&survey, 200);
    assert_eq!(text.matches("16.0 EiB").count(), 3, "{text}");
}

/// 20,000 holders of 30 files each: 600,000 steps, where a search for other holders would take 12,000,000,000.
#[test]
fn many_holders_of_many_files_take_a_step_each() {
    let mut survey = survey();
    let ids: Vec<FileId> = (0..30).map(|inode| FileId { device: 14, inode }).collect();
    let hold = Hold { descriptors: 1, ..Hold::default() };
    survey.scan.files.clear();
    survey.scan.holders = (1..=20_000)
        .map(|pid| {
            let files = ids.iter().map(|id| (*id, hold)).collect();
            (pid, Holder { process: process(pid, "many"), files })
        })
        .collect();
    survey.scan.count_holders();
    assert!(survey.scan.files.values().all(|file| file.holders == 20_000));
    let rows = rows(&survey);
    assert_eq!((rows.len(), rows.iter().map(|row| row.shared_files).sum::<u32>()), (20_000, 600_000));
}
