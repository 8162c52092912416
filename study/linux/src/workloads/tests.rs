//! Each workload runs, on small data.

use super::cached::{Length, places};
use super::*;
use crate::proc::counters::KIB_4;

const SIZES: Sizes =
    Sizes { cached_bytes: 1 << 20, files: 50, forked_bytes: 1 << 20, sample: Duration::from_micros(200) };

#[test]
fn each_workload_gives_a_positive_time() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (mut timed, omissions) = all(&SIZES, scratch.path(), 1);
    assert_eq!(timed.len() + omissions.len(), 9);
    assert!(timed.len() >= 6, "{omissions:?}");
    for one in &mut timed {
        let ns = one.sample().expect("a sample");
        assert!(ns > 0.0 && ns.is_finite(), "{}: {ns}", one.workload().id());
        assert!(!one.workload().words().is_empty());
    }
}

#[test]
fn a_workload_that_the_system_refuses_is_an_omission() {
    let (timed, omissions) = all(&SIZES, Path::new("/proc/no/such/folder"), 1);
    assert!(timed.iter().all(|one| one.workload().id() != "stat"));
    assert!(omissions.iter().any(|omission| omission.part == "the workload stat"));
}

#[test]
fn each_page_is_read_once_in_a_turn() {
    let places = places(0..1000, Length::Line, 7);
    let mut pages: Vec<u64> = places.iter().map(|place| place / KIB_4).collect();
    assert!(places.iter().all(|place| place % 64 == 0));
    assert!(!pages.is_sorted(), "the order is random");
    pages.sort_unstable();
    assert_eq!(pages, (0..1000).collect::<Vec<u64>>());
}
