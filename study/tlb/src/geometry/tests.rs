use super::*;
use crate::published;

#[test]
fn the_published_geometries_are_geometries() {
    let all = published::all();
    assert!(all.len() >= 6);
    for geometry in &all {
        geometry.check().unwrap();
        assert!(!geometry.sources.is_empty(), "{}", geometry.id);
        assert_eq!(all.iter().filter(|other| other.id == geometry.id).count(), 1);
        // Each array's entries are what its sets and ways say, so that no division lost any.
        for array in &geometry.arrays {
            assert!(array.entries().is_multiple_of(array.ways));
        }
    }
}

/// Published sums: all entries for pages of 4 KiB of the first level for loads, and of the second level.
#[test]
fn the_published_entries_add_up() {
    let sums = |geometry: &Geometry| {
        let sum = |level, size: PageSize| -> u32 {
            let arrays = geometry.arrays.iter().filter(|array| {
                array.level == level && array.pages.contains(&size) && array.serves.takes(Purpose::Load)
            });
            arrays.map(Array::entries).sum()
        };
        [
            sum(1, PageSize::Size4K),
            sum(1, PageSize::Size2M),
            sum(2, PageSize::Size4K),
            sum(2, PageSize::Size2M),
        ]
    };
    assert_eq!(sums(&published::skylake_sp()), [64, 32, 1536, 1536]);
    assert_eq!(sums(&published::ice_lake_sp()), [64, 32, 2048, 1024]);
    assert_eq!(sums(&published::sapphire_rapids()), [96, 32, 2048, 1024]);
    assert_eq!(sums(&published::zen2()), [64, 64, 2048, 2048]);
    assert_eq!(sums(&published::zen3()), [64, 64, 2048, 2048]);
    assert_eq!(sums(&published::zen4()), [72, 72, 3072, 3072]);
}

#[test]
fn a_description_becomes_a_geometry() {
    let cache =
        |level, serves, page_bytes, entries, ways| Described { level, serves, page_bytes, entries, ways };
    let caches = [
        cache(1, Serves::Data, &[4 << 10][..], 64, Some(4)),
        cache(1, Serves::Data, &[2 << 20, 4 << 20][..], 32, None),
        cache(1, Serves::Code, &[4 << 10, 2 << 20][..], 128, Some(8)),
        cache(2, Serves::All, &[4 << 10, 2 << 20][..], 1536, Some(12)),
    ];
    let geometry = Geometry::described("here", "this machine", &caches).unwrap();
    assert_eq!((geometry.arrays[0].sets, geometry.arrays[0].ways), (16, 4));
    assert_eq!((geometry.arrays[1].sets, geometry.arrays[1].ways), (1, 32));
    assert_eq!(geometry.arrays[1].pages, [PageSize::Size2M]);
    assert_eq!(geometry.arrays[3].sets, 128);
}

#[test]
fn wrong_descriptions_are_refused() {
    let cache =
        |level, serves, page_bytes, entries, ways| Described { level, serves, page_bytes, entries, ways };
    let described = |caches: &[Described<'_>]| Geometry::described("here", "this machine", caches);
    let (data, code) =
        (cache(1, Serves::Data, &[4096][..], 64, Some(4)), cache(1, Serves::Code, &[4096][..], 64, Some(4)));
    assert_eq!(described(&[]), Err(WrongGeometry::Unserved(Purpose::Fetch)));
    assert_eq!(described(std::slice::from_ref(&data)), Err(WrongGeometry::Unserved(Purpose::Fetch)));
    assert!(described(&[data.clone(), code.clone()]).is_ok());
    let with = |cache| described(&[data.clone(), code.clone(), cache]);
    assert_eq!(with(cache(3, Serves::All, &[4096], 64, Some(4))), Err(WrongGeometry::Level(3)));
    assert_eq!(with(cache(2, Serves::All, &[5], 64, Some(4))), Err(WrongGeometry::PageBytes(5)));
    let none = WrongGeometry::Size { level: 2, sets: 0, ways: 0 };
    assert_eq!(with(cache(2, Serves::All, &[4096], 0, None)).unwrap_err().to_string(), none.to_string());
    assert!(matches!(with(cache(2, Serves::All, &[4096], 4096, None)), Err(WrongGeometry::Size { .. })));
    let mut geometry = described(&[data, code]).unwrap();
    geometry.walk_caches = vec![WalkCache::SecondLevel { levels: vec![2] }];
    assert_eq!(geometry.check(), Err(WrongGeometry::NoSecondLevel));
    geometry.walk_caches = vec![WalkCache::Own { levels: vec![1], sets: 1, ways: 1 }];
    assert_eq!(geometry.check(), Err(WrongGeometry::Tables(1)));
}
