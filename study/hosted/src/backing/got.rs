//! The pages that the system says it gave: from `smaps`, and physically from `pagemap` and `kpageflags`.

use std::fmt;
use std::ops::Range;

use procfs::process::{MMapPath, MemoryMap, PageInfo, Pfn, Process};
use procfs::{PhysicalPageFlags, ProcError};
use rhumb_machine::PageSize;

/// Memory by the size of the pages that map it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Got {
    /// Bytes in pages of 1 GiB.
    pub(crate) gib_bytes: u64,
    /// Bytes in pages of 2 MiB.
    pub(crate) mib_bytes: u64,
    /// Bytes in pages of 4 KiB.
    pub(crate) kib_bytes: u64,
    /// Bytes with no page, in pages of another size, or swapped out.
    pub(crate) other_bytes: u64,
}

/// The system does not tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    /// No list of mappings.
    #[error("/proc/self/smaps: {0}")]
    NoList(#[from] ProcError),
    /// A list without the field that counts transparent huge pages.
    #[error("/proc/self/smaps has no AnonHugePages")]
    NoHuge,
}

impl Got {
    /// Asks the system about the addresses `span` of this process.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn of(span: Range<u64>) -> Result<Self, Unknown> {
        Self::among(&Process::myself()?.smaps()?.0, span)
    }

    /// Sums up the mappings that lie in `span`.
    pub(super) fn among(maps: &[MemoryMap], span: Range<u64>) -> Result<Self, Unknown> {
        let mut got = Self::default();
        for map in maps {
            if map.address.0 < span.start || map.address.1 > span.end || map.pathname == MMapPath::Vsyscall {
                continue;
            }
            let field = |name: &str| map.extension.map.get(name).copied();
            let size = map.address.1 - map.address.0;
            let hugetlb = field("Private_Hugetlb").unwrap_or(0) + field("Shared_Hugetlb").unwrap_or(0);
            match field("KernelPageSize") {
                Some(page) if page == PageSize::Size1G.bytes() => got.gib_bytes += hugetlb,
                Some(page) if page == PageSize::Size2M.bytes() => got.mib_bytes += hugetlb,
                Some(page) if page > PageSize::Size4K.bytes() => {}
                _ => {
                    let huge = field("AnonHugePages").ok_or(Unknown::NoHuge)?;
                    got.mib_bytes += huge;
                    got.kib_bytes += field("Rss").unwrap_or(0).saturating_sub(huge);
                }
            }
            got.other_bytes += size;
        }
        got.other_bytes =
            got.other_bytes.saturating_sub(got.gib_bytes).saturating_sub(got.mib_bytes + got.kib_bytes);
        Ok(got)
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.gib_bytes, "in pages of 1 GiB"),
            (self.mib_bytes, "in pages of 2 MiB"),
            (self.kib_bytes, "in pages of 4 KiB"),
            (self.other_bytes, "otherwise"),
        ];
        let mut separator = "";
        for (bytes, how) in parts.into_iter().filter(|(bytes, _)| *bytes > 0) {
            write!(f, "{separator}{} MiB {how}", bytes >> 20)?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}

/// Where memory lies physically, in blocks of 2 MiB. Only root is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    /// Blocks in all.
    pub(crate) blocks: u64,
    /// Blocks whose 512 frames lie one after the other, at a multiple of 2 MiB.
    pub(crate) contiguous: u64,
    /// Blocks whose first frame the kernel counts to a huge page; `None` where it does not tell.
    pub(crate) flagged_huge: Option<u64>,
}

impl Placed {
    /// Asks the system about the addresses `span` of this process; `None` where it does not tell.
    pub(crate) fn of(span: Range<u64>) -> Option<Self> {
        let page = PageSize::Size4K.bytes();
        let pages = (span.start / page) as usize..(span.end / page) as usize;
        let infos = Process::myself().ok()?.pagemap().ok()?.get_range_info(pages).ok()?;
        let frames: Vec<u64> = infos.iter().map(frame_of).collect::<Option<_>>()?;
        let per_block = PageSize::Size2M.frames() as usize;
        let mut flags = procfs::KPageFlags::new().ok();
        let mut placed = Self { blocks: 0, contiguous: 0, flagged_huge: Some(0) };
        for block in frames.chunks_exact(per_block) {
            placed.blocks += 1;
            let is_aligned = block[0].is_multiple_of(per_block as u64);
            let in_order = block.iter().zip(block[0]..).all(|(frame, expected)| *frame == expected);
            placed.contiguous += u64::from(is_aligned && in_order);
            let huge = flags.as_mut().and_then(|flags| flags.get_info(Pfn(block[0])).ok());
            placed.flagged_huge = placed.flagged_huge.zip(huge).map(|(count, flags)| {
                count + u64::from(flags.intersects(PhysicalPageFlags::HUGE | PhysicalPageFlags::THP))
            });
        }
        Some(placed)
    }
}

/// Returns the frame behind a page; `None` where there is none or the system hides it.
fn frame_of(info: &PageInfo) -> Option<u64> {
    match info {
        PageInfo::MemoryPage(flags) => Some(flags.get_page_frame_number().0).filter(|frame| *frame != 0),
        PageInfo::SwapPage(_) => None,
    }
}

/// Returns the bytes of this process's page tables; `None` where the system does not tell.
pub(super) fn tables_bytes() -> Option<u64> {
    Process::myself().ok()?.status().ok()?.vmpte.map(|kib| kib << 10)
}

#[cfg(test)]
mod tests;
