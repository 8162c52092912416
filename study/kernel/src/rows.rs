//! The rows that the kernel's `count` prints, and the lines of `meminfo` that say how the direct map is made.

use rhumb_mark::RegionId;
use rhumb_study_report::Extent;

/// One region, in the kernel's own counters: sums over all runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) id: RegionId,
    pub(crate) runs: u64,
    pub(crate) table_writes: u64,
    pub(crate) flushes: u64,
    pub(crate) remote: u64,
    pub(crate) interrupts: u64,
}

/// Returns the rows in the kernel's output.
pub(crate) fn rows(output: &str) -> Vec<Row> {
    output.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, id, numbers @ ..] = words.as_slice() else { return None };
    let numbers: Vec<u64> = numbers.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [runs, _least, _ticks, table_writes, flushes, remote, interrupts] = *numbers.as_slice() else {
        return None;
    };
    let id = RegionId::new(id.parse().ok()?)?;
    Some(Row { name: (*name).to_owned(), id, runs, table_writes, flushes, remote, interrupts })
}

/// Returns the regions that the kernel could not measure, each with its reason.
pub(crate) fn refused(output: &str) -> Vec<(String, String)> {
    let refusal = |line: &str| {
        let (head, why) = line.split_once("not measured: ")?;
        let name = head.split_whitespace().next()?;
        Some((name.to_owned(), why.trim().to_owned()))
    };
    output.lines().filter_map(refusal).collect()
}

/// Returns the parts of the direct map by page size, the largest first; nothing where the kernel did not say.
pub(crate) fn extents(output: &str) -> Vec<Extent> {
    [("DirectMap1G:", 1 << 30), ("DirectMap2M:", 1 << 21), ("DirectMap4k:", 1 << 12)]
        .into_iter()
        .filter_map(|(name, page)| {
            let line = output.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(Extent { start: None, bytes: kib << 10, page_bytes: Some(page) })
        })
        .filter(|extent| extent.bytes > 0)
        .collect()
}

#[cfg(test)]
mod tests;
