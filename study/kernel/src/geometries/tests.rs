use super::*;

fn tlb(level: u32, kind: TlbKind, page_bytes: &[u64], entries: u32, ways: Option<u32>) -> Tlb {
    Tlb { level, kind, page_bytes: page_bytes.to_vec(), entries, ways, source: "CPUID leaf 18H".into() }
}

fn machine() -> Vec<Tlb> {
    vec![
        tlb(1, TlbKind::Data, &[4 << 10], 64, Some(4)),
        tlb(1, TlbKind::Data, &[2 << 20, 4 << 20], 32, Some(4)),
        tlb(1, TlbKind::Code, &[4 << 10, 2 << 20], 128, None),
        tlb(2, TlbKind::Shared, &[4 << 10, 2 << 20], 1536, Some(12)),
    ]
}

#[test]
fn a_machine_that_describes_its_caches_is_modelled() {
    assert!(of_machine(&[]).is_none());
    let geometry = of_machine(&machine()).unwrap().unwrap();
    assert_eq!((geometry.arrays.len(), geometry.arrays[3].sets), (4, 128));
    // A description without caches for code is no geometry, and is left out.
    assert!(of_machine(&machine()[..1]).unwrap().is_err());
    assert_eq!(chosen(&[], true, &machine()[..1]).unwrap().len(), 3);
}

#[test]
fn geometries_are_chosen_by_name() {
    assert_eq!(chosen(&[], false, &[]).unwrap().len(), published::all().len());
    assert_eq!(chosen(&[], true, &machine()).unwrap().len(), 4);
    let named = chosen(&["zen4".into(), HERE.into()], true, &machine()).unwrap();
    assert_eq!(named.iter().map(|geometry| geometry.id.as_str()).collect::<Vec<_>>(), ["zen4", HERE]);
    let error = chosen(&["zen9".into()], true, &[]).unwrap_err().to_string();
    assert!(error.contains("zen9") && error.contains("skylake-sp"), "{error}");
}

#[test]
fn a_predicted_ladder_has_a_line_for_each_size_and_rises_at_the_reach() {
    let curve = predicted_ladder(&published::skylake_sp()).unwrap();
    assert_eq!(curve.series.len(), 6);
    let walks = &curve.series[1];
    assert_eq!(walks.name, "4 KiB pages: walks");
    let at = |kib: f64| walks.points.iter().find(|point| point.x == kib).unwrap().y;
    assert_eq!((at(6144.0), at(8192.0)), (0.0, 1.0));
    assert!(curve.series.iter().all(|series| series.points.is_sorted_by(|one, next| one.x < next.x)));
}
