//! `/proc/meminfo` and `/proc/vmstat`: the direct map by page size, its splits and merges.

#[cfg(test)]
mod tests;

use super::total;

/// 4 KiB.
pub const KIB_4: u64 = 4 << 10;
/// 2 MiB.
pub const MIB_2: u64 = 2 << 20;
/// 4 MiB: the large page of 32-bit kernels without PAE.
pub const MIB_4: u64 = 4 << 20;
/// 1 GiB.
pub const GIB_1: u64 = 1 << 30;

/// The direct map by page size, in bytes, as `/proc/meminfo` tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DirectMap {
    /// Bytes in pages of 4 KiB: `DirectMap4k`.
    pub small: Option<u64>,
    /// Bytes in pages of 2 MiB: `DirectMap2M`.
    pub mib_2: Option<u64>,
    /// Bytes in pages of 4 MiB: `DirectMap4M`.
    pub mib_4: Option<u64>,
    /// Bytes in pages of 1 GiB: `DirectMap1G`. The field is missing where the CPU has no such pages.
    pub gib_1: Option<u64>,
}

impl DirectMap {
    /// Parses `/proc/meminfo`.
    pub fn parse(meminfo: &str) -> Self {
        Self {
            small: kilobytes(meminfo, "DirectMap4k"),
            mib_2: kilobytes(meminfo, "DirectMap2M"),
            mib_4: kilobytes(meminfo, "DirectMap4M"),
            gib_1: kilobytes(meminfo, "DirectMap1G"),
        }
    }

    /// Returns each page size that the kernel tells, smallest first, with its bytes.
    pub fn by_size(&self) -> impl Iterator<Item = (u64, u64)> {
        [(KIB_4, self.small), (MIB_2, self.mib_2), (MIB_4, self.mib_4), (GIB_1, self.gib_1)]
            .into_iter()
            .filter_map(|(size, bytes)| Some((size, bytes?)))
    }

    /// Returns the bytes of the whole map; 0 where the kernel tells nothing.
    pub fn total(&self) -> u64 {
        total(self.by_size().map(|(_, bytes)| bytes))
    }

    /// Returns the share of the map that is in pages of 4 KiB; `None` where the kernel tells nothing.
    pub fn small_share(&self) -> Option<f64> {
        let total = self.total();
        Some(self.small? as f64 / total as f64).filter(|_| total > 0)
    }
}

/// Splits and merges of the direct map since boot, as `/proc/vmstat` counts them (kernels from 5.13 on; merges from 6.15
/// on). Splits that boot itself made are not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Splits {
    /// Pages of 2 MiB (or 4 MiB) that were split into pages of 4 KiB.
    pub level2_splits: Option<u64>,
    /// Pages of 1 GiB that were split into pages of 2 MiB.
    pub level3_splits: Option<u64>,
    /// Tables of pages of 4 KiB that were merged into a page of 2 MiB.
    pub level2_collapses: Option<u64>,
    /// Tables of pages of 2 MiB that were merged into a page of 1 GiB.
    pub level3_collapses: Option<u64>,
}

impl Splits {
    /// Parses `/proc/vmstat`.
    pub fn parse(vmstat: &str) -> Self {
        let field = |name: &str| {
            vmstat.lines().find_map(|line| {
                let (key, value) = line.split_once(' ')?;
                (key == name).then(|| value.trim().parse().ok())?
            })
        };
        Self {
            level2_splits: field("direct_map_level2_splits"),
            level3_splits: field("direct_map_level3_splits"),
            level2_collapses: field("direct_map_level2_collapses"),
            level3_collapses: field("direct_map_level3_collapses"),
        }
    }

    /// Returns the counters by the names that the kernel gives them.
    pub fn by_name(&self) -> [(&'static str, Option<u64>); 4] {
        [
            ("direct_map_level2_splits", self.level2_splits),
            ("direct_map_level3_splits", self.level3_splits),
            ("direct_map_level2_collapses", self.level2_collapses),
            ("direct_map_level3_collapses", self.level3_collapses),
        ]
    }

    /// Returns the splits of both levels together; `None` where the kernel counts none.
    pub fn splits(&self) -> Option<u64> {
        Some(self.level2_splits?.saturating_add(self.level3_splits.unwrap_or(0)))
    }

    /// Returns the merges of both levels together, as far as the kernel counts them.
    pub fn collapses(&self) -> u64 {
        total([self.level2_collapses, self.level3_collapses].into_iter().flatten())
    }

    /// Returns the bytes of page tables that splits have added and merges have not given back.
    pub fn table_bytes(&self) -> Option<u64> {
        Some(self.splits()?.saturating_sub(self.collapses()).saturating_mul(KIB_4))
    }
}

/// Estimates the map as boot left it: today's map with each split and merge since then taken back.
pub fn at_boot(now: &DirectMap, since: &Splits) -> Option<DirectMap> {
    let net = |splits: Option<u64>, merges: Option<u64>| {
        splits.map(|splits| splits as i128 - merges.unwrap_or(0) as i128)
    };
    let level2 = net(since.level2_splits, since.level2_collapses)?;
    let level3 = net(since.level3_splits, since.level3_collapses)?;
    // The larger page that a split at level 2 takes: 2 MiB, or 4 MiB on kernels that have those instead.
    let large = if now.mib_2.is_none() && now.mib_4.is_some() { MIB_4 } else { MIB_2 };
    let add = |bytes: Option<u64>, change: i128| {
        bytes.map(|bytes| (bytes as i128 + change).clamp(0, u64::MAX.into()) as u64)
    };
    let (from_level2, from_level3) = (level2 * i128::from(large), level3 * i128::from(GIB_1));
    Some(DirectMap {
        small: add(now.small, -from_level2),
        mib_2: add(now.mib_2, from_level2 - from_level3),
        mib_4: add(now.mib_4, from_level2),
        gib_1: add(now.gib_1, from_level3),
    })
}

/// Returns a field of `/proc/meminfo` in bytes.
pub fn kilobytes(meminfo: &str, name: &str) -> Option<u64> {
    meminfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        if key != name {
            return None;
        }
        let mut words = value.split_whitespace();
        let number: u64 = words.next()?.parse().ok()?;
        words.next().is_some_and(|unit| unit == "kB").then(|| number.checked_mul(1024))?
    })
}
