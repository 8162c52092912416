//! A block's state, in the private words of the descriptors of its first twelve frames.
//!
//! ```text
//! word 0..=7   the bits: set where the frame is in the pool
//! word 8       31..0 next block in its bin   63..32 the one before (numbers plus one; 0 is none)
//! word 9       63..40 MAGIC   39..24 account   23 member of a 1-GiB block   22..16 bin   15..0 free frames
//! word 10      of the first member of a 1-GiB block: members that are wholly free
//! word 11      of that one: neighbours in the list of 1-GiB blocks that are wholly free, as word 8
//! ```
//!
//! The first frame of what was taken has its owner and, as page type, [`TAKEN`] plus its order in the rest of its
//! descriptor.
//!
//! Why there: a block's state is wanted exactly while the pool holds the block, and its descriptors are the pool's to
//! write: a holder of an unmapped frame cannot write any. Anywhere else it would take memory that grows with the pool,
//! and a search from a frame to its block.

#![expect(unsafe_code, reason = "writes the descriptors of frames that the pool holds")]

use rhumb_frames::words::{Bits, FRAMES, WORDS, block_rank};
use rhumb_frames::{Descriptor, DescriptorView, Frames, Owner};
use rhumb_machine::{Machine, Pfn, PfnRange, impossible};

/// Marks a block of a pool; anything else in the word of a frame that is not is as good as random.
const MAGIC: u64 = 0x52_756e << 40;
const MAGIC_MASK: u64 = 0xff_ffff << 40;
const MEMBER: u64 = 1 << 23;

const LINKS: u64 = 8;
const STATE: u64 = 9;
const FREE_MEMBERS: u64 = 10;
const GROUP_LINKS: u64 = 11;
const USED: u64 = 12;

/// Page type of the first frame of what is out, plus its order.
pub(crate) const TAKEN: u8 = 0x40;

/// Blocks in 1 GiB.
pub(crate) const MEMBERS: u64 = 512;

/// Number of an account's bins: see the lists.
pub(crate) const OWN_BINS: usize = 64;
/// Members of 1-GiB blocks that are wholly free.
pub(crate) const FREE_MEMBERS_BIN: u8 = 63;
/// The list of wholly free blocks that are no account's.
pub(crate) const SPARE_BIN: u8 = 64;
/// Blocks that have nothing free are in no bin.
pub(crate) const NO_BIN: u8 = 127;

/// The number of a 2-MiB block: that of its first frame, divided by 512.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct BlockId(u32);

impl BlockId {
    pub(crate) const fn around(pfn: Pfn) -> Self {
        Self((pfn.get() / FRAMES as u64) as u32)
    }

    pub(crate) const fn start(self) -> Pfn {
        Pfn::new(self.0 as u64 * FRAMES as u64)
    }

    /// Returns the first member of the 1-GiB block around it.
    pub(crate) const fn group(self) -> Self {
        Self(self.0 & !(MEMBERS as u32 - 1))
    }

    pub(crate) fn members(self) -> impl DoubleEndedIterator<Item = Self> {
        (self.0..self.0.saturating_add(MEMBERS as u32)).map(Self)
    }
}

/// A place in a list: nothing, or a block.
pub(crate) type Link = Option<BlockId>;

const fn pack(link: Link) -> u64 {
    match link {
        Some(id) => id.0 as u64 + 1,
        None => 0,
    }
}

fn unpack(word: u64) -> Link {
    (word as u32).checked_sub(1).map(BlockId)
}

/// Neighbours in a list.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Links {
    pub(crate) before: Link,
    pub(crate) next: Link,
}

/// Which list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Chain {
    /// The bin that the block is in.
    Bin,
    /// Wholly free 1-GiB blocks.
    Groups,
}

/// Whether a block came and goes alone or with the 511 others of its GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Alone,
    Member,
}

/// A block's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) bits: Bits,
    pub(crate) free: u32,
    pub(crate) kind: Kind,
    pub(crate) bin: u8,
    /// The account that it is charged to; of a spare: that it was charged to last.
    pub(crate) owner: Owner,
}

impl Record {
    /// Returns a record with all frames free, in no bin yet.
    pub(crate) const fn new(kind: Kind, owner: Owner) -> Self {
        Self { bits: [u64::MAX; WORDS], free: FRAMES, kind, bin: NO_BIN, owner }
    }

    pub(crate) const fn is_whole(&self) -> bool {
        self.free == FRAMES
    }

    /// Returns the bin that it belongs in: `9 * fullness + largest free order`, fullest first; see the lists.
    pub(crate) fn wanted_bin(&self) -> u8 {
        match (self.free, self.kind) {
            (0, _) => NO_BIN,
            (FRAMES, Kind::Member) => FREE_MEMBERS_BIN,
            (FRAMES, Kind::Alone) => SPARE_BIN,
            (free, _) => {
                let fullness = ((free - 1) >> 3).checked_ilog2().map_or(0, |level| level + 1);
                (fullness * 9 + block_rank(&self.bits).saturating_sub(1)) as u8
            }
        }
    }
}

/// The blocks' state in the descriptors.
pub(crate) struct Records<'frames, M: Machine>(pub(crate) &'frames Frames<M>);

impl<M: Machine> Records<'_, M> {
    /// Returns the state of a block; `None` where no block of a pool is.
    pub(crate) fn load(&self, id: BlockId) -> Option<Record> {
        let mut words = self.0.descriptors(state_of(id))?.map(DescriptorView::private);
        let mut bits = [0; WORDS];
        for (word, read) in bits.iter_mut().zip(&mut words) {
            *word = read;
        }
        let state = words.nth((STATE - WORDS as u64) as usize)?;
        if state & MAGIC_MASK != MAGIC {
            return None;
        }
        Some(Record {
            bits,
            free: state as u32 & 0xffff,
            kind: if state & MEMBER != 0 { Kind::Member } else { Kind::Alone },
            bin: (state >> 16) as u8 & 0x7f,
            owner: Owner((state >> 24) as u16),
        })
    }

    /// Writes a block's state, all but its links.
    pub(crate) fn store(&self, id: BlockId, record: &Record) {
        let member = if record.kind == Kind::Member { MEMBER } else { 0 };
        let state = MAGIC
            | u64::from(record.owner.0) << 24
            | member
            | u64::from(record.bin) << 16
            | u64::from(record.free);
        let Some(descriptors) = self.all_held(id) else {
            return impossible!("{id:?} was taken from the allocator, so its frames have descriptors");
        };
        for (descriptor, &word) in descriptors.iter().zip(&record.bits) {
            descriptor.set_private(word);
        }
        if let Some(descriptor) = descriptors.get(STATE as usize) {
            descriptor.set_private(state);
        }
    }

    /// Leaves the words as the allocator's other users expect them; the first frame has an owner, so that the allocator
    /// forgets it.
    pub(crate) fn wipe(&self, id: BlockId, owner: Owner) {
        for descriptor in self.all_held(id).into_iter().flatten() {
            descriptor.set_private(0);
        }
        self.describe(id.start(), owner, 0);
    }

    /// Tells whether a block of a pool is wholly free.
    pub(crate) fn is_whole(&self, id: BlockId) -> bool {
        let whole = |state| state & MAGIC_MASK == MAGIC && state as u32 & 0xffff == FRAMES;
        self.word(id, STATE).is_some_and(whole)
    }

    pub(crate) fn links(&self, id: BlockId, chain: Chain) -> Links {
        let word = self.word(id, Self::word_of(chain)).unwrap_or(0);
        Links { before: unpack(word >> 32), next: unpack(word) }
    }

    pub(crate) fn set_links(&self, id: BlockId, chain: Chain, links: Links) {
        self.set_word(id, Self::word_of(chain), pack(links.before) << 32 | pack(links.next));
    }

    /// Returns how many members of the 1-GiB block `group` are wholly free.
    pub(crate) fn free_members(&self, group: BlockId) -> u64 {
        self.word(group, FREE_MEMBERS).unwrap_or(0)
    }

    pub(crate) fn set_free_members(&self, group: BlockId, members: u64) {
        self.set_word(group, FREE_MEMBERS, members);
    }

    /// Takes the owner of the frame that begins at `pfn`, and its order; `None` where no frame that is out begins
    /// there.
    pub(crate) fn taken(&self, pfn: Pfn) -> Option<(Owner, u8)> {
        let descriptor = self.0.descriptor(pfn)?;
        let order = descriptor.page_type().checked_sub(TAKEN).filter(|&order| order <= 9)?;
        Some((descriptor.owner(), order))
    }

    /// Marks what is out, and forgets what others have left in the descriptors of its later frames: nothing begins
    /// there.
    pub(crate) fn set_taken(&self, pfn: Pfn, owner: Owner, order: u8) {
        if order > 0 {
            let frames = PfnRange::of_length(pfn, 1 << order).unwrap_or_default();
            // SAFETY: the lists mark frames as taken only while their block is in the pool, so that the frames are the
            // pool's.
            for descriptor in unsafe { self.0.descriptors_to_write(frames) }.into_iter().flatten() {
                descriptor.set_page_type(0);
            }
        }
        self.describe(pfn, owner, TAKEN + order);
    }

    pub(crate) fn clear_taken(&self, pfn: Pfn) {
        self.describe(pfn, Owner::NONE, 0);
    }

    /// Tells whether the frame has a descriptor to write.
    pub(crate) fn has_room(&self, id: BlockId) -> bool {
        self.held(id.start()).is_some()
    }

    fn describe(&self, pfn: Pfn, owner: Owner, page_type: u8) {
        if let Some(descriptor) = self.held(pfn) {
            descriptor.set_owner(owner);
            descriptor.set_page_type(page_type);
        }
    }

    /// Returns the descriptor of a frame of the pool.
    fn held(&self, pfn: Pfn) -> Option<&Descriptor> {
        // SAFETY: the lists write records of blocks only between the blocks' arrival in the pool and their departure
        // from it, while their frames are the pool's, also those that are out.
        unsafe { self.0.descriptor_to_write(pfn) }
    }

    /// Returns the descriptors with a block's state.
    fn all_held(&self, id: BlockId) -> Option<&[Descriptor]> {
        // SAFETY: the lists write the state of a block only between its arrival in the pool and its departure from it,
        // while its frames are the pool's.
        unsafe { self.0.descriptors_to_write(state_of(id)) }
    }

    const fn word_of(chain: Chain) -> u64 {
        match chain {
            Chain::Bin => LINKS,
            Chain::Groups => GROUP_LINKS,
        }
    }

    fn word(&self, id: BlockId, at: u64) -> Option<u64> {
        self.0.descriptor(id.start().plus(at)).map(DescriptorView::private)
    }

    fn set_word(&self, id: BlockId, at: u64, word: u64) {
        if let Some(descriptor) = self.held(id.start().plus(at)) {
            descriptor.set_private(word);
        }
    }
}

/// Returns the frames of a block whose descriptors have its state.
fn state_of(id: BlockId) -> PfnRange {
    PfnRange::of_length(id.start(), USED).unwrap_or_default()
}
