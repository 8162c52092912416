//! The request of a caller: order, zones, node, mobility, contents, and how deep into the reserve it may go.
//!
//! A [`Request`] is built by `const` functions, so that a request written down in the source folds to nothing and the
//! common path of [`crate::Frames::alloc`] has no branch on it.

use core::fmt;

use rhumb_machine::{NodeId, Order, Pfn};

/// A class of memory by address, because not every device reaches all of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Zone {
    /// Below 16 MiB, where ISA devices reach it.
    Dma,
    /// Below 4 GiB, where devices with 32-bit addresses reach it.
    Dma32,
    /// In the direct map, above 4 GiB.
    Normal,
    /// Past the direct map's limit.
    High,
}

impl Zone {
    /// How many zones there are.
    pub const COUNT: usize = 4;
    /// All zones, lowest first.
    pub const ALL: [Self; Self::COUNT] = [Self::Dma, Self::Dma32, Self::Normal, Self::High];

    /// Returns the first frame past this zone, in a machine whose direct map ends at `direct_limit`.
    pub(crate) const fn end(self, direct_limit: Pfn) -> Pfn {
        let limit = direct_limit.get();
        let end = match self {
            Self::Dma => 16 << 8,
            Self::Dma32 => 4 << 18,
            Self::Normal => limit,
            Self::High => u64::MAX,
        };
        Pfn::new(if matches!(self, Self::High) || end < limit { end } else { limit })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::High => "HighMem",
        })
    }
}

/// Whether the content of a frame can be moved elsewhere, or dropped, while it is in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mobility {
    /// It stays where it is until its owner frees it: page tables, kernel objects.
    Unmovable,
    /// Its owner can move it ([`crate::Relocate`]): pages of tasks.
    Movable,
    /// Its owner can drop it on demand ([`crate::Reclaimer`]): caches.
    Reclaimable,
}

impl Mobility {
    /// How many kinds there are.
    pub const COUNT: usize = 3;
    /// All kinds.
    pub const ALL: [Self; Self::COUNT] = [Self::Unmovable, Self::Movable, Self::Reclaimable];

    pub(crate) const fn from_index(index: usize) -> Self {
        match index {
            1 => Self::Movable,
            2 => Self::Reclaimable,
            _ => Self::Unmovable,
        }
    }

    /// Returns the kinds from whose blocks this kind takes frames, in order, when its own blocks and the whole ones are
    /// used up. Unmovable frames go to reclaimable blocks first, because those empty sooner than they can be compacted.
    pub(crate) const fn steals_from(self) -> [Self; 2] {
        match self {
            Self::Unmovable => [Self::Reclaimable, Self::Movable],
            Self::Movable => [Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => [Self::Unmovable, Self::Movable],
        }
    }
}

impl fmt::Display for Mobility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
        })
    }
}

/// On which node the frames shall be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Preference {
    /// This CPU's node, then the others by distance.
    Any,
    /// This node, then the others by its distance to them.
    Prefer(NodeId),
    /// This node or an error.
    Bind(NodeId),
}

/// How far below the low watermark an allocation may go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AllocClass {
    /// Stops at the `min` watermark, after having called the reclaimers.
    Ordinary,
    /// For a reclaimer that keeps for long what it takes: stops at the `min` watermark, and never calls a reclaimer.
    Spare,
    /// Interrupt handlers: down to half of `min`, and never calls a reclaimer.
    Atomic,
    /// Page tables: down to a quarter of `min`.
    PageTables,
    /// For a reclaimer that needs frames to free more than it takes: down to nothing, and never calls a reclaimer.
    Emergency,
}

/// The contents that the frames shall have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Contents {
    /// Whatever was there.
    Stale,
    /// Zeroes.
    Zeroed,
}

/// The owner of a frame: a number that the kernel gives out, 0 being no owner in particular. Shown by
/// [`crate::Frames::describe`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Owner(pub u16);

impl Owner {
    /// No owner in particular.
    pub const NONE: Self = Self(0);
}

/// A [`Preference`] in a byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct PackedPreference(u8);

impl PackedPreference {
    const ANY: Self = Self(0);
    const PREFER: u8 = 0x80;
    const BIND: u8 = 0xc0;
}

/// A request for one block of frames. Eight bytes: it travels in a register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Request {
    pub(crate) order: Order,
    pub(crate) ceiling: Zone,
    node: PackedPreference,
    pub(crate) kind: Mobility,
    pub(crate) contents: Contents,
    pub(crate) class: AllocClass,
    pub(crate) owner: Owner,
}

impl Request {
    /// One frame: unmovable, from any zone of the direct map, near this CPU, stale contents, class
    /// [`AllocClass::Ordinary`].
    pub const FRAME: Self = Self::new(Order::BASE);
    /// One 2-MiB block, otherwise as [`Request::FRAME`].
    pub const LARGE: Self = Self::new(Order::LARGE);
    /// One 1-GiB block, otherwise as [`Request::FRAME`].
    pub const HUGE: Self = Self::new(Order::HUGE);

    /// Returns a block of `order`, otherwise as [`Request::FRAME`].
    pub const fn new(order: Order) -> Self {
        Self {
            order,
            ceiling: Zone::High,
            node: PackedPreference::ANY,
            kind: Mobility::Unmovable,
            contents: Contents::Stale,
            class: AllocClass::Ordinary,
            owner: Owner::NONE,
        }
    }

    /// Asks for a block of this order.
    #[must_use]
    pub const fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// Asks for zones up to and including `zone` only. [`crate::Frames::alloc`] never goes past [`Zone::Normal`].
    #[must_use]
    pub const fn ceiling(self, zone: Zone) -> Self {
        Self { ceiling: zone, ..self }
    }

    /// Returns the request placed as `preference` says.
    #[must_use]
    pub const fn near(self, preference: Preference) -> Self {
        let node = match preference {
            Preference::Any => PackedPreference::ANY,
            Preference::Prefer(node) => PackedPreference(PackedPreference::PREFER | node.index() as u8),
            Preference::Bind(node) => PackedPreference(PackedPreference::BIND | node.index() as u8),
        };
        Self { node, ..self }
    }

    /// Asks for memory on `node` if it has any, else near it.
    #[must_use]
    pub const fn prefer(self, node: NodeId) -> Self {
        self.near(Preference::Prefer(node))
    }

    /// Asks for memory on `node` or for none.
    #[must_use]
    pub const fn bind(self, node: NodeId) -> Self {
        self.near(Preference::Bind(node))
    }

    /// Asks for memory of this mobility.
    #[must_use]
    pub const fn kind(self, kind: Mobility) -> Self {
        Self { kind, ..self }
    }

    /// Asks for movable memory: short for the most common [`Request::kind`].
    #[must_use]
    pub const fn movable(self) -> Self {
        self.kind(Mobility::Movable)
    }

    /// Asks for memory filled with zeroes.
    #[must_use]
    pub const fn zeroed(self) -> Self {
        Self { contents: Contents::Zeroed, ..self }
    }

    /// Makes a request of this class.
    #[must_use]
    pub const fn class(self, class: AllocClass) -> Self {
        Self { class, ..self }
    }

    /// Attributes the memory to `owner`. Costs one store to the frame's descriptor at each end; without an owner the
    /// descriptor is not touched.
    #[must_use]
    pub const fn owner(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }

    /// Returns the request without its owner and its contents, which are for the block that is found.
    #[inline(always)]
    pub(crate) const fn bare(self) -> Self {
        Self { owner: Owner::NONE, contents: Contents::Stale, ..self }
    }

    /// Asks for whatever content was there.
    #[must_use]
    pub const fn stale(self) -> Self {
        Self { contents: Contents::Stale, ..self }
    }

    /// Returns the contents that are asked for.
    #[inline(always)]
    pub const fn wanted_contents(&self) -> Contents {
        self.contents
    }

    /// Returns the order that is asked for.
    #[inline(always)]
    pub const fn wanted_order(&self) -> Order {
        self.order
    }

    /// Returns the class.
    #[inline(always)]
    pub const fn wanted_class(&self) -> AllocClass {
        self.class
    }

    /// Returns the same, but not past the direct map.
    #[inline(always)]
    pub(crate) const fn in_direct_map(self) -> Self {
        match self.ceiling {
            Zone::High => Self { ceiling: Zone::Normal, ..self },
            _ => self,
        }
    }

    /// Returns the node that is asked for.
    #[inline(always)]
    pub(crate) const fn node(&self) -> Preference {
        let PackedPreference(packed) = self.node;
        match NodeId::new((packed & 0x3f) as usize) {
            Some(node) if packed >= PackedPreference::BIND => Preference::Bind(node),
            Some(node) if packed >= PackedPreference::PREFER => Preference::Prefer(node),
            _ => Preference::Any,
        }
    }
}

const _: () = assert!(size_of::<Request>() == 8);
