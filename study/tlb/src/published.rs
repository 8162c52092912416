//! The geometries of real CPUs.
//!
//! | CPU | loads and stores, level 1 | code, level 1 | level 2 |
//! |---|---|---|---|
//! | Skylake-SP, Cascade Lake | 64 x 4K in 4 ways, 32 x 2M in 4, 4 x 1G | 128 x 4K in 8 ways, 8 x 2M | 1,536 of 4K and 2M in 12 ways, 16 x 1G in 4 |
//! | Ice Lake-SP | loads as above with 8 x 1G; stores: 16 of any size | 128 x 4K in 8 ways, 8 x 2M | 1,024 of 4K and 2M, 1,024 of 4K and 1G, each in 8 ways |
//! | Sapphire Rapids | 96 x 4K in 6 ways, 32 x 2M in 4, 8 x 1G; stores: 16 of any size | 256 x 4K in 8 ways, 32 x 2M | as Ice Lake-SP |
//! | Zen 2, Zen 3 | 64 of any size | 64 of any size | data: 2,048 of 4K and 2M in 16 ways, with PDEs; code: 512 of 4K and 2M in 8 |
//! | Zen 4 | 72 of any size | 64 of any size | data: 3,072 of 4K and 2M in 24 ways, with PDEs; code: 512 of 4K and 2M in 8 |
//!
//! Not published, and assumed here: the order of replacement (LRU), which address bits choose a set (the lowest of the
//! page's number), the walk caches of Intel's CPUs. Figures are those of one thread with the core to itself. AMD's
//! entries that cover several adjacent 4-KiB pages are not modelled.

use crate::geometry::{ASSUMED, Array, Geometry, Serves, WalkCache, assumed_walk_caches};
use crate::page::PageSize::{self, Size1G, Size2M, Size4K};

const ANY: &[PageSize] = &PageSize::ALL;
const SMALL: &[PageSize] = &[Size4K, Size2M];

/// Returns all published geometries.
pub fn all() -> Vec<Geometry> {
    vec![skylake_sp(), ice_lake_sp(), sapphire_rapids(), zen2(), zen3(), zen4()]
}

/// Intel Skylake-SP and Cascade Lake.
pub fn skylake_sp() -> Geometry {
    Geometry {
        id: "skylake-sp".into(),
        name: "Intel Skylake-SP, Cascade Lake".into(),
        arrays: vec![
            Array::new(1, Serves::Data, &[Size4K], 64, 4),
            Array::new(1, Serves::Data, &[Size2M], 32, 4),
            Array::new(1, Serves::Data, &[Size1G], 4, 4),
            Array::new(1, Serves::Code, &[Size4K], 128, 8),
            Array::new(1, Serves::Code, &[Size2M], 8, 8),
            Array::new(2, Serves::All, SMALL, 1536, 12),
            Array::new(2, Serves::All, &[Size1G], 16, 4),
        ],
        walk_caches: assumed_walk_caches(),
        levels: 4,
        sources: vec![
            "Intel, Optimization Reference Manual (248966), TLB parameters of the Skylake client \
             microarchitecture; Skylake's servers have the same"
                .into(),
            ASSUMED.into(),
        ],
    }
}

fn since_ice_lake(id: &str, name: &str, source: &str, first: Vec<Array>) -> Geometry {
    let mut arrays = first;
    arrays.extend([
        Array::new(1, Serves::Stores, ANY, 16, 16),
        Array::new(2, Serves::All, &[Size4K, Size2M], 1024, 8),
        Array::new(2, Serves::All, &[Size4K, Size1G], 1024, 8),
    ]);
    Geometry {
        id: id.into(),
        name: name.into(),
        arrays,
        walk_caches: assumed_walk_caches(),
        levels: 4,
        sources: vec![source.into(), ASSUMED.into()],
    }
}

/// Intel Ice Lake-SP.
pub fn ice_lake_sp() -> Geometry {
    since_ice_lake(
        "ice-lake-sp",
        "Intel Ice Lake-SP",
        "Intel, Optimization Reference Manual (248966), TLB parameters of the Ice Lake client microarchitecture; CPUID \
         leaf 18H of such a CPU: 8 code entries of 2 MiB, 16 store entries of any size, two second-level arrays of \
         1,024 in 8 ways",
        vec![
            Array::new(1, Serves::Loads, &[Size4K], 64, 4),
            Array::new(1, Serves::Loads, &[Size2M], 32, 4),
            Array::new(1, Serves::Loads, &[Size1G], 8, 8),
            Array::new(1, Serves::Code, &[Size4K], 128, 8),
            Array::new(1, Serves::Code, &[Size2M], 8, 8),
        ],
    )
}

/// Intel Sapphire Rapids.
pub fn sapphire_rapids() -> Geometry {
    since_ice_lake(
        "sapphire-rapids",
        "Intel Sapphire Rapids",
        "Intel, Optimization Reference Manual (248966), TLB parameters of the Golden Cove microarchitecture",
        vec![
            Array::new(1, Serves::Loads, &[Size4K], 96, 6),
            Array::new(1, Serves::Loads, &[Size2M], 32, 4),
            Array::new(1, Serves::Loads, &[Size1G], 8, 8),
            Array::new(1, Serves::Code, &[Size4K], 256, 8),
            Array::new(1, Serves::Code, &[Size2M], 32, 8),
        ],
    )
}

fn zen(id: &str, name: &str, source: &str, data: u32, (second, ways): (u32, u32)) -> Geometry {
    Geometry {
        id: id.into(),
        name: name.into(),
        arrays: vec![
            Array::new(1, Serves::Data, ANY, data, data),
            Array::new(1, Serves::Code, ANY, 64, 64),
            Array::new(2, Serves::Data, SMALL, second, ways),
            Array::new(2, Serves::Code, SMALL, 512, 8),
        ],
        walk_caches: vec![
            WalkCache::SecondLevel { levels: vec![2] },
            WalkCache::Own { levels: vec![3, 4], sets: 1, ways: 64 },
        ],
        levels: 4,
        sources: vec![
            source.into(),
            "AMD, Software Optimization Guide for Family 17h: the second level for data keeps PDEs, too; a page \
             directory cache of 64 entries keeps PDPTEs and PML4Es; 1-GiB pages are kept by 2 MiB in the second level"
                .into(),
        ],
    }
}

/// AMD Zen 2.
pub fn zen2() -> Geometry {
    let source = "AMD, Software Optimization Guide for Family 17h Models 30h and Greater (56305), section on memory \
                  address translation";
    zen("zen2", "AMD Zen 2", source, 64, (2048, 16))
}

/// AMD Zen 3.
pub fn zen3() -> Geometry {
    let source =
        "AMD, Software Optimization Guide for Family 19h (56665), section on memory address translation";
    zen("zen3", "AMD Zen 3", source, 64, (2048, 16))
}

/// AMD Zen 4.
pub fn zen4() -> Geometry {
    let source = "AMD, Software Optimization Guide for the Zen 4 Microarchitecture (57647), section on memory address translation";
    zen("zen4", "AMD Zen 4", source, 72, (3072, 24))
}
