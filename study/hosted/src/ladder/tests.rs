use super::*;
use crate::backing::Pages;

#[test]
fn a_chain_visits_each_page_once() {
    let mut backing = Backing::new(Pages::Kib, 4 << 20, 1).unwrap();
    let chain = chain(100, &mut Pcg64Mcg::seed_from_u64(1));
    lay(&mut backing, &chain);
    let (mut at, mut visited) = (chain[0], Vec::new());
    for _ in 0..100 {
        visited.push(at / PAGE);
        at = backing.word(at);
    }
    assert_eq!(at, chain[0]);
    visited.sort_unstable();
    assert!(visited.into_iter().eq(0..100));
}

#[test]
fn measures_each_rung_of_each_memory() {
    let mut backings =
        vec![Backing::new(Pages::Kib, 4 << 20, 1).unwrap(), Backing::new(Pages::Kib, 4 << 20, 1).unwrap()];
    let ladder = measure(&mut backings, 1, |_, _| true).unwrap();
    assert_eq!(ladder.pages.first(), Some(&8));
    assert_eq!(ladder.pages.last(), Some(&1024));
    for of_memory in &ladder.ns {
        assert_eq!(of_memory.len(), ladder.pages.len());
        assert!(of_memory.iter().flatten().all(|ns| *ns > 0.0));
    }
    let stopped = measure(&mut backings, 1, |rung, _| rung < 3).unwrap();
    assert_eq!(stopped.pages, [8, 12, 16]);
}

/// Returns nanoseconds by rung with TLBs of these entries and costs of a miss.
fn model(pages: &[u64], tlbs: &[(f64, f64)]) -> Vec<f64> {
    let missing = |pages: f64, entries: f64| (1.0 - entries / pages).max(0.0);
    pages
        .iter()
        .map(|&pages| {
            2.0 + tlbs.iter().map(|(entries, ns)| missing(pages as f64, *entries) * ns).sum::<f64>()
        })
        .collect()
}

#[test]
fn finds_the_reach_of_two_levels() {
    let pages = rungs(1 << 18);
    let floor = vec![2.0; pages.len()];
    assert_eq!(knees(&pages, &floor, &model(&pages, &[(64.0, 2.5), (1536.0, 30.0)])), [64, 1536]);
    assert_eq!(knees(&pages, &floor, &model(&pages, &[(96.0, 3.0), (2048.0, 100.0)])), [96, 2048]);
}

#[test]
fn a_flat_ladder_has_no_knee() {
    let pages = rungs(1 << 12);
    let floor = vec![2.0; pages.len()];
    assert!(knees(&pages, &floor, &floor).is_empty());
    assert!(knees(&[], &[], &[]).is_empty());
    // A slow cache of data slows both.
    let slow: Vec<f64> = pages.iter().map(|pages| 2.0 + *pages as f64).collect();
    assert!(knees(&pages, &slow, &slow).is_empty());
}

#[test]
fn pieces_smaller_than_pages_are_seen() {
    let pages = rungs(1 << 18);
    let whole = model(&pages, &[(4096.0, 3.0)]);
    assert!(!is_fractured(&pages, &whole));
    // Each access to a large page misses the 96 entries of a first-level TLB, as if the page were small.
    assert!(is_fractured(&pages, &model(&pages, &[(96.0, 2.5)])));
    assert!(!is_fractured(&[], &[]));
}
