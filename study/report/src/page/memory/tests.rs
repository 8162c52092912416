use super::sheet::{Sheet, cell_bytes};
use super::*;
use crate::schema::Extent;

fn map(extents: &[(u64, u64, Option<u64>)]) -> MemoryMap {
    let extents = extents
        .iter()
        .map(|&(start, bytes, page_bytes)| Extent { start: Some(start), bytes, page_bytes })
        .collect();
    MemoryMap { moment: "now".into(), extents, source: "test".into() }
}

#[test]
fn small_and_sparse_memory_has_few_rows() {
    let gib = 1 << 30;
    assert_eq!(cell_bytes(&[]), 2 << 20);
    assert_eq!(cell_bytes(&[map(&[(0, gib, Some(4096))])]), 2 << 20);
    assert_eq!(cell_bytes(&[map(&[(0, 24 * gib, Some(4096))])]), 16 << 20);
    // A hole of a terabyte is no reason for large cells.
    assert_eq!(cell_bytes(&[map(&[(0, gib, Some(4096)), (1 << 40, gib, None)])]), 2 << 20);
    let all = map(&[(0, u64::MAX, Some(4096)), (u64::MAX, u64::MAX, None)]);
    let cell = cell_bytes(std::slice::from_ref(&all));
    assert!(Sheet::of(&all, cell).picture("all").into_string().len() < 1_000_000);
}

#[test]
fn a_cell_is_divided_among_its_sizes() {
    let mib = 1 << 20;
    let text = Sheet::of(
        &map(&[(0, 2 * mib, Some(1 << 30)), (2 * mib, mib / 2, Some(4096)), (5 * mib / 2, mib / 2, None)]),
        2 * mib,
    )
    .picture("now")
    .into_string();
    assert!(text.contains(r#"<rect class="p1g" x="0" y="0" width="1" height="1">"#), "{text}");
    assert!(text.contains(r#"<rect class="p4k" x="1" y="0" width="0.25" height="1">"#), "{text}");
    assert!(text.contains(r#"<rect class="pun" x="1.25" y="0" width="0.25" height="1">"#), "{text}");
}

#[test]
fn cells_alike_are_one_rectangle() {
    let text = Sheet::of(&map(&[(0, 128 << 20, Some(2 << 20))]), 2 << 20).picture("now").into_string();
    assert_eq!(text.matches("class=\"p2m\"").count(), 1, "{text}");
}
