//! Which events count translation misses on which CPU.
//!
//! | CPUs | data loads | data stores | code | source |
//! |---|---|---|---|---|
//! | Skylake to Ice Lake and Rocket Lake | 08H | 49H | 85H | Intel's event files `SKX`, `ICX`: `*_MISSES.WALK_*` |
//! | Sapphire, Emerald and Granite Rapids | 12H | 13H | 11H | Intel's event files `SPR`, `GNR` |
//! | AMD families 17H and 19H (Zen 1 to 4) | 45H | with loads | 85H | AMD's PPR: `ls_l1_d_tlb_miss`, `bp_l1_tlb_miss_l2_tlb_miss` |
//!
//! Intel's unit masks are alike on all of these: 02H walks for 4-KiB pages, 04H for 2 and 4 MiB, 08H for 1 GiB, 10H the
//! walks that are under way in each cycle. AMD counts no walk cycles. CPUs with two kinds of cores have two sets of
//! counters, and take the events that Linux names for all CPUs, as all other CPUs do.

use perf_event::events::{Cache, CacheId, CacheOp, CacheResult, Hardware, Raw};
use raw_cpuid::{CpuId, CpuIdReader};

/// An event as the kernel takes it.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    Raw(Raw),
    Hardware(Hardware),
    Cache(Cache),
}

/// How a family of CPUs numbers its events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    Intel { loads: u8, stores: u8, code: u8 },
    Amd,
    Other,
}

/// Returns the events of a CPU, by name.
pub(super) fn of<R: CpuIdReader>(cpuid: &CpuId<R>) -> Vec<(&'static str, Choice)> {
    let mut events = vec![
        ("instructions", Choice::Hardware(Hardware::INSTRUCTIONS)),
        ("cycles", Choice::Hardware(Hardware::CPU_CYCLES)),
    ];
    let vendor = cpuid.get_vendor_info().map_or_else(String::new, |vendor| vendor.as_str().to_owned());
    let (family, model) = cpuid.get_feature_info().map_or((0, 0), |info| (info.family_id(), info.model_id()));
    events.extend(translation(family_of(&vendor, family, model)));
    events
}

/// Returns how a CPU numbers its events.
pub(super) fn family_of(vendor: &str, family: u8, model: u8) -> Family {
    match (vendor, family, model) {
        (
            "GenuineIntel",
            6,
            0x4e | 0x5e | 0x8e | 0x9e | 0xa5 | 0xa6 | 0x55 | 0x6a | 0x6c | 0x7d | 0x7e | 0x8c | 0x8d | 0xa7,
        ) => Family::Intel { loads: 0x08, stores: 0x49, code: 0x85 },
        ("GenuineIntel", 6, 0x8f | 0xcf | 0xad | 0xae) => {
            Family::Intel { loads: 0x12, stores: 0x13, code: 0x11 }
        }
        ("AuthenticAMD", 0x17 | 0x19, _) => Family::Amd,
        _ => Family::Other,
    }
}

fn translation(family: Family) -> Vec<(&'static str, Choice)> {
    let raw = |event: u8, mask: u8| Choice::Raw(Raw::new(u64::from(mask) << 8 | u64::from(event)));
    match family {
        Family::Intel { loads, stores, code } => vec![
            ("load walks, 4-KiB pages", raw(loads, 0x02)),
            ("load walks, 2-MiB pages", raw(loads, 0x04)),
            ("load walks, 1-GiB pages", raw(loads, 0x08)),
            ("load walk cycles", raw(loads, 0x10)),
            ("store walks", raw(stores, 0x0e)),
            ("store walk cycles", raw(stores, 0x10)),
            ("code walks, 4-KiB pages", raw(code, 0x02)),
            ("code walks, 2-MiB pages", raw(code, 0x04)),
            ("code walk cycles", raw(code, 0x10)),
        ],
        Family::Amd => vec![
            ("data walks, 4-KiB pages", raw(0x45, 0x10)),
            ("data walks, 16-KiB groups of pages", raw(0x45, 0x20)),
            ("data walks, 2-MiB pages", raw(0x45, 0x40)),
            ("data walks, 1-GiB pages", raw(0x45, 0x80)),
            ("code walks, 4-KiB pages", raw(0x85, 0x01)),
            ("code walks, 2-MiB pages", raw(0x85, 0x02)),
        ],
        Family::Other => {
            let misses =
                |which, operation| Choice::Cache(Cache { which, operation, result: CacheResult::MISS });
            vec![
                ("load misses of the data TLB", misses(CacheId::DTLB, CacheOp::READ)),
                ("store misses of the data TLB", misses(CacheId::DTLB, CacheOp::WRITE)),
                ("misses of the code TLB", misses(CacheId::ITLB, CacheOp::READ)),
            ]
        }
    }
}
