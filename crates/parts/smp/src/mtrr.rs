//! MTRRs: the registers by which firmware says how memory may be cached.
//!
//! ```text
//!  IA32_MTRRCAP        7..0 how many pairs
//!  IA32_MTRR_DEF_TYPE  7..0 type of memory that no pair names    11 on
//!  base, mask (pairs)  base: 7..0 type, 51..12 address           mask: 11 in use, 51..12 which address bits count
//! ```
//!
//! The kernel maps RAM as write-back, and what a CPU does is the stricter of both. So RAM that the MTRRs make uncached
//! is slow, and a large page across a border of types is undefined (SDM volume 3, 13.11.9). [`Mtrrs::not_write_back`]
//! finds both. The first MiB has registers of its own and is the firmware's in this kernel: it is not looked at, but
//! compared ([`Mtrrs::digest`]): all CPUs must have the same (13.11.8).

use rhumb_machine::{PageSize, PhysAddr, PhysRange};

/// Pairs that are looked at: today's CPUs have 8 to 10, the register could say 255.
pub const MAX_PAIRS: usize = 32;
/// The types of the first MiB are in so many registers.
pub const FIXED_REGISTERS: usize = 11;

const TYPE: u64 = 0xff;
const ON: u64 = 1 << 11;
const IN_USE: u64 = 1 << 11;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// How memory is cached, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryType {
    /// Write-back: as RAM should be.
    WriteBack,
    /// Write-through.
    WriteThrough,
    /// Write-protected.
    WriteProtected,
    /// Write-combining.
    WriteCombining,
    /// Uncached, or a type that no manual knows.
    Uncached,
}

impl MemoryType {
    const fn of(bits: u64) -> Self {
        match bits & TYPE {
            1 => Self::WriteCombining,
            4 => Self::WriteThrough,
            5 => Self::WriteProtected,
            6 => Self::WriteBack,
            _ => Self::Uncached,
        }
    }

    /// Returns the type that two pairs give to an address that both name: uncached wins, write-through wins over
    /// write-back, and of all else the manual says that it is undefined (13.11.4.1).
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::WriteBack, Self::WriteBack) => Self::WriteBack,
            (Self::WriteThrough | Self::WriteBack, Self::WriteThrough | Self::WriteBack) => {
                Self::WriteThrough
            }
            (Self::WriteCombining, Self::WriteCombining) => Self::WriteCombining,
            (Self::WriteProtected, Self::WriteProtected) => Self::WriteProtected,
            _ => Self::Uncached,
        }
    }
}

impl core::fmt::Display for MemoryType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::WriteBack => "write-back",
            Self::WriteThrough => "write-through",
            Self::WriteProtected => "write-protected",
            Self::WriteCombining => "write-combining",
            Self::Uncached => "uncached",
        })
    }
}

/// One CPU's MTRRs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mtrrs {
    default_type: u64,
    fixed: [u64; FIXED_REGISTERS],
    /// Those that are not there are not in use.
    pairs: [(u64, u64); MAX_PAIRS],
}

impl Mtrrs {
    /// Makes them of the registers' values: IA32_MTRR_DEF_TYPE, the first MiB's, and the pairs of base and mask, of
    /// which the first [`MAX_PAIRS`] are kept.
    pub fn new(
        default_type: u64,
        fixed: [u64; FIXED_REGISTERS],
        pairs: impl IntoIterator<Item = (u64, u64)>,
    ) -> Self {
        let mut kept = [(0, 0); MAX_PAIRS];
        kept.iter_mut().zip(pairs).for_each(|(place, pair)| *place = pair);
        Self { default_type, fixed, pairs: kept }
    }

    /// Tells whether they are on. Where they are not, all memory is uncached by them: firmware of virtual machines
    /// leaves them so, where the host decides.
    pub const fn are_on(&self) -> bool {
        self.default_type & ON != 0
    }

    /// Returns the type of the memory at `at`, past the first MiB.
    pub fn at(&self, at: PhysAddr) -> MemoryType {
        if !self.are_on() {
            return MemoryType::Uncached;
        }
        let named = self.in_use().filter(|&(base, mask)| (at.get() ^ base) & mask & ADDRESS == 0);
        let types = named.map(|(base, _)| MemoryType::of(base));
        types.reduce(MemoryType::and).unwrap_or(MemoryType::of(self.default_type))
    }

    /// Calls `each` for the parts of `range` that are not write-back, each with its type: neighbours differ.
    ///
    /// Cost: for each pair two steps and, where a mask has gaps, as many more as there are pairs; 4096 at most, so that
    /// registers which hold nonsense cost no more. Memory that was not looked at by then counts as uncached.
    pub fn not_write_back(&self, range: PhysRange, mut each: impl FnMut(PhysRange, MemoryType)) {
        const MOST_STEPS: usize = 4096;
        let mut open: Option<(PhysAddr, MemoryType)> = None;
        let mut from = range.start();
        let mut steps = 0;
        while from < range.end() {
            steps += 1;
            let is_known = steps < MOST_STEPS;
            let (kind, to) = if is_known {
                (self.at(from), self.border_after(from).min(range.end()))
            } else {
                (MemoryType::Uncached, range.end())
            };
            if let Some((start, open_kind)) = open.filter(|&(_, open_kind)| open_kind != kind) {
                if let Some(part) = PhysRange::new(start, from) {
                    each(part, open_kind);
                }
                open = None;
            }
            if kind != MemoryType::WriteBack {
                open = open.or(Some((from, kind)));
            }
            from = to;
        }
        if let Some((start, kind)) = open
            && let Some(part) = PhysRange::new(start, range.end())
        {
            each(part, kind);
        }
    }

    /// Returns a digest of all registers: the same for the same contents, and hardly ever for others.
    pub fn digest(&self) -> u64 {
        let pairs = self.pairs.iter().flat_map(|&(base, mask)| [base, mask]);
        let all = [self.default_type].into_iter().chain(self.fixed).chain(pairs);
        // FNV-1a, a word at a time.
        all.fold(0xcbf2_9ce4_8422_2325, |sum, word| {
            (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
        })
    }

    fn in_use(&self) -> impl Iterator<Item = (u64, u64)> {
        self.pairs.iter().copied().filter(|(_, mask)| mask & IN_USE != 0)
    }

    /// Returns the nearest address past `at` at which a pair may begin or cease to name memory.
    fn border_after(&self, at: PhysAddr) -> PhysAddr {
        let next =
            self.in_use().map(|(base, mask)| border_of(base & ADDRESS, mask & ADDRESS, at.get())).min();
        PhysAddr::new(next.unwrap_or(u64::MAX)).align_down(PageSize::Size4K)
    }
}

/// Returns the nearest address past `at` at which this pair may begin or cease to name memory. A mask of adjoining ones
/// names one range, and that again and again above its highest bit; one with gaps may change at each multiple of its
/// lowest bit.
fn border_of(base: u64, mask: u64, at: u64) -> u64 {
    if mask == 0 {
        return u64::MAX;
    }
    let (lowest, period) = (1 << mask.trailing_zeros(), 1u64 << (64 - mask.leading_zeros()));
    if mask.wrapping_add(lowest) & mask != 0 {
        return (at / lowest + 1).saturating_mul(lowest);
    }
    let (start, inside) = (base & mask, at % period);
    let next = [start, start + lowest].into_iter().find(|&border| border > inside);
    (at - inside).saturating_add(next.unwrap_or(period))
}
