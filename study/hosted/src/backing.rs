//! The memory behind a process's direct map, in pages of a known size.
//!
//! ```text
//!   1g       |           one page of 1 GiB           |   hugetlb
//!   2m       |  2 MiB  |  2 MiB  |  2 MiB  |  2 MiB  |   transparent huge pages, or hugetlb
//!   aged-4   |  2 MiB  | 4K 4K.. |  2 MiB  |  2 MiB  |   as 2m, one block of four broken
//!   4k       | 4K 4K.. | 4K 4K.. | 4K 4K.. | 4K 4K.. |   as 2m, all blocks broken
//! ```
//!
//! A block is *broken* as a kernel breaks its direct map: the memory stays where it is, and 512 entries map it instead
//! of one. Linux does so when the rights of one page in a transparent huge page are changed, and does not mend it when
//! they are changed back. So the arms differ in the size of their pages, and not in the kind of memory behind them: each
//! has its memory in blocks of 2 MiB or more that are contiguous.
//!
//! | module | owns |
//! |---|---|
//! | `map` | the system calls |
//! | `access` | reads and writes by physical address |
//! | [`got`] | the pages that the system says it gave |
//! | [`reserve`] | huge pages, taken from the system for the length of the study |

#[allow(unsafe_code)]
mod access;
pub(crate) mod got;
#[allow(unsafe_code)]
mod map;
pub(crate) mod reserve;

use std::fmt;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_hosted::{HostedMachine, LargePages};
use rhumb_machine::{PageSize, PhysAddr, PhysRange};

pub(crate) use self::access::Access;
use self::got::Got;
use self::map::Ram;
use crate::size::{GIB, PAGE, sized};

const MIB2: u64 = PageSize::Size2M.bytes();

/// The pages of a direct map: an arm of each comparison.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Pages {
    /// Pages of 1 GiB.
    Gib,
    /// Pages of 2 MiB.
    Mib,
    /// Pages of 2 MiB, but one block of so many is broken, drawn at random.
    Aged(u64),
    /// Pages of 4 KiB: all blocks are broken.
    Kib,
}

impl Pages {
    /// Returns the name that is the same on every machine.
    pub(crate) fn id(self) -> String {
        match self {
            Self::Gib => "1g".to_owned(),
            Self::Mib => "2m".to_owned(),
            Self::Aged(one_in) => format!("aged-{one_in}"),
            Self::Kib => "4k".to_owned(),
        }
    }

    /// Returns how many blocks of 2 MiB are broken, of so many.
    pub(crate) fn broken_blocks(self, blocks: u64) -> u64 {
        match self {
            Self::Gib | Self::Mib => 0,
            Self::Aged(one_in) => blocks / one_in.max(1),
            Self::Kib => blocks,
        }
    }

    /// Returns the pages that `bytes` in this form consist of.
    pub(crate) fn claim(self, bytes: u64) -> Got {
        match self {
            Self::Gib => Got { gib_bytes: bytes, ..Got::default() },
            _ => {
                let broken = self.broken_blocks(bytes / MIB2) * MIB2;
                Got { mib_bytes: bytes - broken, kib_bytes: broken, ..Got::default() }
            }
        }
    }

    /// Returns the bytes of page tables below the third level with which a kernel maps `bytes` so.
    pub(crate) fn kernel_tables_bytes(self, bytes: u64) -> u64 {
        let directories = if self == Self::Gib { 0 } else { bytes.div_ceil(GIB) };
        (directories + self.broken_blocks(bytes / MIB2)) * PAGE
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gib => f.write_str("1-GiB pages"),
            Self::Mib => f.write_str("2-MiB pages"),
            Self::Aged(one_in) => write!(f, "2-MiB pages, 1 block in {one_in} broken"),
            Self::Kib => f.write_str("4-KiB pages"),
        }
    }
}

/// The reason why there is no memory in the wanted pages.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}; {remedy}")]
pub(crate) struct Refusal {
    /// The missing thing, as a sentence without its period.
    pub(crate) why: String,
    /// How to get it.
    pub(crate) remedy: String,
}

impl Refusal {
    fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: remedy.into() }
    }
}

/// Where pages come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    /// Transparent huge pages, of which some are broken in place.
    Transparent,
    /// Pages of hugetlb, of which some were replaced by ordinary ones.
    Hugetlb,
    /// Ordinary pages, wherever they lie: the system has no large ones.
    Ordinary,
}

/// A machine of one CPU, all of whose RAM is there, in pages that were verified.
#[derive(Debug)]
pub(crate) struct Backing {
    ram: Ram,
    pages: Pages,
    source: Source,
    /// The growth of the process's page tables, where the system says it.
    tables_bytes: Option<u64>,
}

impl Backing {
    /// Takes `bytes` of memory and brings it into the form `pages`. `seed` draws the blocks that are broken.
    ///
    /// # Errors
    /// The [`Refusal`]: the system does not give the pages, or gave others than it was asked for.
    pub(crate) fn new(pages: Pages, bytes: u64, seed: u64) -> Result<Self, Refusal> {
        let before = got::tables_bytes();
        let mut backing = Self::raw(pages, bytes)?;
        backing.fill(seed)?;
        backing.verify()?;
        backing.tables_bytes =
            before.zip(got::tables_bytes()).map(|(before, after)| after.saturating_sub(before));
        Ok(backing)
    }

    /// Returns memory with no page behind it.
    fn raw(pages: Pages, bytes: u64) -> Result<Self, Refusal> {
        let size = if pages == Pages::Gib { PageSize::Size1G } else { PageSize::Size2M };
        if bytes == 0 || !bytes.is_multiple_of(size.bytes()) {
            let page = page_of(size);
            let why = if bytes < size.bytes() {
                format!("{} is smaller than one {page}", sized(bytes))
            } else {
                format!("{} is no whole number of {page}s", sized(bytes))
            };
            return Err(Refusal::new(why, "Choose another --memory."));
        }
        let large_pages = if pages == Pages::Gib { LargePages::AsHost } else { LargePages::Wanted };
        let ram = Ram::new(bytes, large_pages)
            .map_err(|error| Refusal::new(error.to_string(), "Choose a smaller --memory."))?;
        Ok(Self { ram, pages, source: Source::Transparent, tables_bytes: None })
    }

    fn fill(&mut self, seed: u64) -> Result<(), Refusal> {
        if self.pages == Pages::Gib {
            return self.take_hugetlb(PageSize::Size1G);
        }
        let all = self.range();
        self.ram.populate(all).map_err(|error| no_memory(&error))?;
        if !self.is(Pages::Mib) {
            self.ram.collapse();
        }
        if !self.is(Pages::Mib) {
            if self.pages == Pages::Kib {
                self.source = Source::Ordinary;
                let replaced = self.ram.replace_by_small(all).and_then(|()| self.ram.populate(all));
                return replaced.map_err(|error| no_memory(&error));
            }
            self.take_hugetlb(PageSize::Size2M)?;
        }
        let blocks = all.bytes() / MIB2;
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut broken: Vec<u64> = (0..blocks).collect();
        broken.shuffle(&mut random);
        broken.truncate(self.pages.broken_blocks(blocks) as usize);
        for block in broken {
            self.break_block(block)?;
        }
        // Or else the system's own daemon would mend what was broken.
        if self.source == Source::Transparent {
            self.ram.forbid_large(all);
        }
        Ok(())
    }

    fn take_hugetlb(&mut self, size: PageSize) -> Result<(), Refusal> {
        let all = self.range();
        self.ram.replace_by_hugetlb(size).and_then(|()| self.ram.populate(all)).map_err(|error| {
            let (pages, kib) = (all.bytes() / size.bytes(), size.bytes() >> 10);
            Refusal::new(
                match pages {
                    1 => format!("the system has no free {} ({error})", page_of(size)),
                    _ => format!("the system does not have {pages} free {}s ({error})", page_of(size)),
                },
                format!(
                    "Run the study as root, or write the number to /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages; \
                     where memory is too fragmented for that, reserve pages at boot (hugepagesz={kib}K hugepages={pages})."
                ),
            )
        })?;
        self.source = Source::Hugetlb;
        Ok(())
    }

    fn break_block(&mut self, block: u64) -> Result<(), Refusal> {
        let range = PhysRange::of_length(PhysAddr::new(block * MIB2), MIB2).unwrap_or_default();
        let broken = if self.source == Source::Hugetlb {
            self.ram.replace_by_small(range).and_then(|()| self.ram.populate(range))
        } else {
            self.ram.break_large(range)
        };
        broken.map_err(|error| no_memory(&error))
    }

    /// Asks the system again whether the pages are those that the arm claims.
    ///
    /// # Errors
    /// The [`Refusal`], which says what there is instead.
    pub(crate) fn verify(&self) -> Result<Got, Refusal> {
        let unknown = "Mount /proc, on a kernel with CONFIG_PROC_PAGE_MONITOR.";
        let got = self.got().map_err(|error| {
            Refusal::new(format!("the system does not tell the sizes of pages ({error})"), unknown)
        })?;
        let claim = self.pages.claim(self.range().bytes());
        if got == claim {
            Ok(got)
        } else {
            let why = format!("{} were wanted, and the system gave {got}", self.pages);
            Err(Refusal::new(why, remedy_for(self.pages)))
        }
    }

    fn is(&self, pages: Pages) -> bool {
        self.got().is_ok_and(|got| got == pages.claim(self.range().bytes()))
    }

    fn got(&self) -> Result<Got, got::Unknown> {
        Got::of(self.ram.span())
    }

    /// Returns where the memory lies physically, as far as the system says.
    pub(crate) fn placed(&self) -> Option<got::Placed> {
        got::Placed::of(self.ram.span())
    }

    /// Returns the machine whose RAM this is.
    pub(crate) const fn machine(&self) -> &HostedMachine {
        self.ram.machine()
    }

    /// Returns its RAM.
    pub(crate) const fn range(&self) -> PhysRange {
        self.ram.range()
    }

    /// Returns the arm.
    pub(crate) const fn pages(&self) -> Pages {
        self.pages
    }

    /// Returns where the pages come from, in a few words.
    pub(crate) const fn source(&self) -> &'static str {
        match (self.source, self.pages) {
            (Source::Hugetlb, Pages::Gib | Pages::Mib) => "hugetlb",
            (Source::Hugetlb, _) => "hugetlb, and ordinary pages for broken blocks",
            (Source::Transparent, Pages::Gib | Pages::Mib) => "transparent huge pages",
            (Source::Transparent, _) => "transparent huge pages, broken in place",
            (Source::Ordinary, _) => "ordinary pages, wherever they lie",
        }
    }

    /// Returns the bytes by which the process's page tables grew.
    pub(crate) const fn tables_bytes(&self) -> Option<u64> {
        self.tables_bytes
    }
}

/// Returns the name of one page, to which an "s" makes several.
fn page_of(size: PageSize) -> &'static str {
    match size {
        PageSize::Size4K => "4-KiB page",
        PageSize::Size2M => "2-MiB page",
        PageSize::Size1G => "1-GiB page",
    }
}

fn no_memory(error: &std::io::Error) -> Refusal {
    Refusal::new(format!("the system gave no memory ({error})"), "Choose a smaller --memory.")
}

fn remedy_for(pages: Pages) -> &'static str {
    match pages {
        Pages::Gib => {
            "Reserve huge pages of 1 GiB early: hugepagesz=1G hugepages=2 on the kernel's command line."
        }
        _ => "Write 'madvise' to /sys/kernel/mm/transparent_hugepage/enabled, and free some memory.",
    }
}

#[cfg(test)]
mod tests;
