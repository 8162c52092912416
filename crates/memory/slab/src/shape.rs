//! How a cache's objects lie in its slabs: the slot around an object, the slab's order, colours.
//!
//! ```text
//!   slab:  | colour | slot 0 | slot 1 | ... | slot n-1 | rest |          slot:  | lead | object | tail |
//! ```
//! *Lead* and *tail* exist in checked caches only (see `check.rs`). The order is the least whose rest is at most a
//! ninth of the slab, so that a slab is as small as it can be and one object left behind holds little back: of most
//! sizes one frame, never more than 128 KiB, so that one slab never holds back a whole large page.

use rhumb_machine::{Order, impossible};

use crate::error::SpecError;
use crate::line::MOST_FULL;

/// The largest order of a slab: 128 KiB.
const MAX_ORDER: u8 = 5;
/// The most objects of a slab: eight words of bits.
pub(crate) const MAX_OBJECTS: u32 = 512;
/// A slab whose rest is at most this part of it is good enough. Measured: an eighth loses 3 bytes of 100 more in use, a
/// twelfth, by its larger slabs, 9 of 100 more where nine in ten objects are gone.
const REST_PART: u32 = 9;
/// Bytes of objects in the largest magazine, about: the most that one exchange with the depot moves.
const MAGAZINE_OBJECT_BYTES: u32 = 16 << 10;
/// Bytes of objects in the full magazines of one CPU beside the loaded one, but for one magazine, of which there may
/// always be one: of 32-KiB objects a CPU keeps four, where the same number of magazines would be ten.
const FULL_OBJECT_BYTES: u32 = 64 << 10;
/// The most words of a magazine: header and rounds of the largest cell.
const MAGAZINE_WORDS: u32 = 256;

/// Room that checks need around an object, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Margins {
    pub(crate) lead: u32,
    pub(crate) tail: u32,
}

/// The measures of a cache. Fixed when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    /// Bytes of an object, as asked for.
    pub(crate) object_bytes: u32,
    pub(crate) align: u32,
    /// Bytes from one object to the next.
    pub(crate) slot_bytes: u32,
    /// Bytes from the start of a slot to its object.
    pub(crate) lead: u32,
    pub(crate) objects: u32,
    pub(crate) order: Order,
    pub(crate) colours: u32,
    colour_bytes: u32,
    /// 2^40 / slot_bytes, rounded up: exact for offsets below 2^20.
    inverse: u64,
    /// 2^19 / objects: from free objects to eighths.
    eighths: u32,
    /// Objects that the largest magazine holds.
    pub(crate) most_rounds: u32,
    /// Full magazines that a CPU keeps at most beside the loaded one, and how many stay when others leave.
    pub(crate) most_full: u32,
    pub(crate) kept_full: u32,
}

impl Shape {
    /// Returns the measures for objects of `size` bytes at multiples of `align`.
    pub(crate) fn new(size: usize, align: usize, margins: Margins) -> Result<Self, SpecError> {
        if size == 0 {
            return Err(SpecError::ZeroSize);
        }
        if !align.is_power_of_two() {
            return Err(SpecError::BadAlign(align));
        }
        let largest = 4096usize << MAX_ORDER;
        if align > largest {
            return Err(SpecError::AlignTooLarge(align));
        }
        if size > crate::class::LARGEST {
            return Err(SpecError::TooLarge(size));
        }
        let align = align.max(8) as u32;
        let lead = margins.lead.next_multiple_of(align) * u32::from(margins.lead > 0);
        let slot_bytes = (lead + size as u32 + margins.tail).next_multiple_of(align);
        let (order, objects) = fit(slot_bytes, align).ok_or(SpecError::AlignTooLarge(align as usize))?;
        let rest = (4096 << order) - objects * slot_bytes;
        let colour_bytes = (1 << slot_bytes.trailing_zeros()).max(64);
        let colours =
            if colour_bytes < 4096 { (rest / colour_bytes).min(4095 / colour_bytes) + 1 } else { 1 };
        let wanted = (MAGAZINE_OBJECT_BYTES / slot_bytes).clamp(2, MAGAZINE_WORDS);
        let most_rounds = wanted.min(wanted.next_power_of_two().max(8) - 2);
        let most_full = (FULL_OBJECT_BYTES / (most_rounds * slot_bytes)).clamp(1, MOST_FULL);
        Ok(Self {
            object_bytes: size as u32,
            align,
            slot_bytes,
            lead,
            objects,
            order: Order::new(order)
                .unwrap_or_else(|| impossible!("a slab of order {}", order => Order::BASE)),
            colours,
            colour_bytes,
            inverse: (1u64 << 40).div_ceil(u64::from(slot_bytes)),
            eighths: (1 << 19) / objects,
            most_rounds,
            most_full,
            kept_full: most_full / 2,
        })
    }

    /// Returns how many bytes a slab has.
    pub(crate) const fn slab_bytes(&self) -> usize {
        self.order.bytes() as usize
    }

    /// Returns how many rounds a magazine of the `size`-th size has: as many as a cell of 64 bytes holds beside a
    /// header, of 128 bytes, and so on.
    pub(crate) fn rounds(&self, size: u32) -> u32 {
        ((8 << size) - 2).min(self.most_rounds)
    }

    /// Returns how many words of bits a header has.
    pub(crate) const fn words(&self) -> usize {
        self.objects.div_ceil(64) as usize
    }

    /// Returns by how many bytes the `turn`-th slab's first slot is moved.
    pub(crate) const fn colour(&self, turn: u32) -> usize {
        ((turn % self.colours) * self.colour_bytes) as usize
    }

    /// Returns the slot that begins `offset` bytes behind the first; `None` between two slots or past the last.
    #[inline]
    pub(crate) fn index(&self, offset: usize) -> Option<u32> {
        let index = ((offset as u64).checked_mul(self.inverse)? >> 40) as u32;
        (index < self.objects && index as usize * self.slot_bytes as usize == offset).then_some(index)
    }

    /// Returns how free a slab with this many free objects is, in eighths, rounded down; less than 8 unless all are
    /// free.
    #[inline]
    pub(crate) const fn eighths(&self, free: u32) -> usize {
        ((free * self.eighths) >> 16) as usize
    }
}

/// Returns the order and how many slots a slab of it has.
fn fit(slot_bytes: u32, align: u32) -> Option<(u8, u32)> {
    let candidates = || {
        (0..=MAX_ORDER).filter_map(|order| {
            let bytes = 4096u32 << order;
            let objects = (bytes / slot_bytes).min(MAX_OBJECTS);
            (objects > 0 && bytes >= align).then(|| (order, objects, bytes - objects * slot_bytes, bytes))
        })
    };
    let good = candidates().find(|&(_, _, rest, bytes)| rest * REST_PART <= bytes);
    // None is good, so the one that loses least, in parts of a 2^16th.
    let least = || candidates().min_by_key(|&(_, _, rest, bytes)| (u64::from(rest) << 16) / u64::from(bytes));
    good.or_else(least).map(|(order, objects, _, _)| (order, objects))
}
