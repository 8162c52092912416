//! Holders in their order.

use super::super::sample::survey;
use super::*;

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
