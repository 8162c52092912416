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
    let geometry = of_machine(&machine()).unwrap();
    assert_eq!((geometry.arrays.len(), geometry.arrays[3].sets), (4, 128));
}

/// As leaf 18H of Ice Lake and later describes them: 16 entries of any size take all stores.
#[test]
fn stores_do_not_take_the_entries_of_loads() {
    let any = &[4 << 10, 2 << 20, 4 << 20, 1 << 30];
    let geometry = of_machine(&[
        tlb(1, TlbKind::Code, &[4 << 10], 128, Some(8)),
        tlb(1, TlbKind::Code, &[2 << 20, 4 << 20], 8, None),
        tlb(1, TlbKind::Stores, any, 16, None),
        tlb(1, TlbKind::Loads, &[4 << 10], 64, Some(4)),
        tlb(1, TlbKind::Loads, &[2 << 20, 4 << 20], 32, Some(4)),
        tlb(1, TlbKind::Loads, &[1 << 30], 8, None),
        tlb(2, TlbKind::Shared, &[4 << 10, 2 << 20, 4 << 20], 1024, Some(8)),
        tlb(2, TlbKind::Shared, &[4 << 10, 1 << 30], 1024, Some(8)),
    ])
    .unwrap();
    let published = published::ice_lake_sp();
    assert_eq!(geometry.arrays.len(), published.arrays.len());
    for array in &published.arrays {
        assert!(geometry.arrays.contains(array), "{array:?}");
    }
    // All 64 entries for loads are used: a chain over as many pages misses none of them.
    let first = |geometry: &Geometry| {
        let steps = ladder(geometry, PageSize::Size4K, &[256 << 10]).unwrap();
        steps[0].first_level_misses
    };
    assert_eq!((first(&geometry), first(&published)), (0.0, 0.0));
}

#[test]
fn a_machine_that_is_not_modelled_says_why() {
    let by_size = Tlb { source: "CPUID function 8000_0005".into(), ..machine()[0].clone() };
    // A description without caches for code is no geometry.
    for (tlbs, why) in [
        (vec![], "does not describe its translation caches"),
        (vec![by_size], "which sizes share"),
        (machine()[..1].to_vec(), "no array of level 1 serves a Fetch"),
    ] {
        let omission = of_machine(&tlbs).unwrap_err().omission();
        assert!(omission.why.starts_with("The CPU") && omission.why.ends_with('.'), "{}", omission.why);
        assert!(omission.why.contains(why), "{}", omission.why);
        assert_eq!(chosen(&[], true, &tlbs).unwrap().len(), 3);
        let named = chosen(&[HERE.into()], true, &tlbs).unwrap_err().to_string();
        assert!(named.contains(why), "{named}");
    }
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
