//! The parts of a hosted machine, checked before anything is reserved.

use core::fmt;

use rhumb_machine::{MAX_CPUS, MAX_NODES, NodeId, PageSize, PhysAddr, PhysRange, impossible};

/// The end of what a hosted machine can reserve: 64 TiB, the size of the direct map in the kernel's own address space,
/// and half of what a 47-bit process has.
pub const PHYS_LIMIT: PhysAddr = PhysAddr::new(64 << 40);

/// A range of RAM and the node that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ram {
    /// Physical addresses, whole frames.
    pub range: PhysRange,
    /// Its place.
    pub node: NodeId,
}

/// Whether the threads that play CPUs are bound to cores of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CorePinning {
    /// The host schedules them where it likes.
    #[default]
    Free,
    /// CPU n runs on the n-th core that the process may use, modulo their number: for measurements.
    OneEach,
}

/// Whether the host may back touched RAM by large pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LargePages {
    /// As the host's own setting says.
    #[default]
    AsHost,
    /// Never: a touch makes exactly one 4-KiB frame resident.
    Never,
    /// Wherever it can: fewer misses of the host's own TLB.
    Wanted,
}

/// Why a machine cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// No CPU was asked for.
    NoCpu,
    /// More CPUs than [`MAX_CPUS`].
    TooManyCpus {
        /// How many were asked for.
        asked: usize,
    },
    /// No node, or more than [`MAX_NODES`].
    BadNodeCount {
        /// How many were asked for.
        asked: usize,
    },
    /// CPUs or RAM on a node that the machine does not have.
    NoSuchNode {
        /// The node that was named.
        node: NodeId,
        /// How many nodes there are.
        nodes: usize,
    },
    /// No RAM at all.
    NoRam,
    /// A range of RAM with nothing in it.
    EmptyRange {
        /// That range.
        range: PhysRange,
    },
    /// A range of RAM that does not begin and end on a frame.
    UnalignedRange {
        /// That range.
        range: PhysRange,
    },
    /// A range of RAM past [`PHYS_LIMIT`].
    BeyondLimit {
        /// That range.
        range: PhysRange,
    },
    /// Two ranges of RAM share a frame.
    Overlap {
        /// The lower one.
        first: Ram,
        /// The one that begins inside it.
        second: Ram,
    },
    /// The host refused the address range.
    Reserve {
        /// How many bytes were asked for.
        bytes: u64,
        /// The host's error number.
        errno: i32,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoCpu => f.write_str("a machine needs a CPU"),
            Self::TooManyCpus { asked } => write!(f, "{asked} CPUs asked for, {MAX_CPUS} are the most"),
            Self::BadNodeCount { asked } => write!(f, "{asked} nodes asked for, 1 to {MAX_NODES} can be had"),
            Self::NoSuchNode { node, nodes } => write!(f, "node {node} named, but nodes are 0..{nodes}"),
            Self::NoRam => f.write_str("a machine needs RAM"),
            Self::EmptyRange { range } => write!(f, "RAM range {range} is empty"),
            Self::UnalignedRange { range } => {
                write!(f, "RAM range {range} does not begin and end on a frame")
            }
            Self::BeyondLimit { range } => {
                write!(f, "RAM range {range} lies past the limit of {PHYS_LIMIT}")
            }
            Self::Overlap { first, second } => write!(
                f,
                "RAM range {} of node {} overlaps {} of node {}",
                second.range, second.node, first.range, first.node
            ),
            Self::Reserve { bytes, errno } => {
                write!(f, "the host refused {bytes} bytes of address space (error {errno})")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// The parts of a machine, in any order; [`Builder::build`] checks them.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) nodes: usize,
    pub(crate) cpus: Vec<NodeId>,
    /// CPUs asked for: more than are in the list, where they are more than there can be.
    asked: usize,
    pub(crate) ram: Vec<Ram>,
    pub(crate) pinning: CorePinning,
    pub(crate) large_pages: LargePages,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            nodes: 1,
            cpus: Vec::new(),
            asked: 0,
            ram: Vec::new(),
            pinning: CorePinning::default(),
            large_pages: LargePages::default(),
        }
    }
}

impl Builder {
    /// Returns how many nodes there are (1 unless told).
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = count;
        self
    }

    /// Adds `count` CPUs on node 0.
    pub fn cpus(self, count: usize) -> Self {
        self.cpus_on(NodeId::FIRST, count)
    }

    /// Adds `count` CPUs on `node`; CPUs are numbered in the order in which they are added.
    pub fn cpus_on(mut self, node: NodeId, count: usize) -> Self {
        self.asked = self.asked.saturating_add(count);
        self.cpus.extend(core::iter::repeat_n(node, count.min(MAX_CPUS)));
        self
    }

    /// Adds `bytes` of RAM on node 0, right after the highest range so far.
    pub fn ram_bytes(self, bytes: u64) -> Self {
        let start = self.ram.iter().map(|ram| ram.range.end()).max().unwrap_or(PhysAddr::ZERO);
        let end = start.checked_add(bytes).unwrap_or(PhysAddr::new(u64::MAX));
        self.ram(
            PhysRange::new(start, end)
                .unwrap_or_else(|| impossible!("{start} is above {end}" => PhysRange::default())),
        )
    }

    /// Adds a range of RAM on node 0.
    pub fn ram(self, range: PhysRange) -> Self {
        self.ram_on(NodeId::FIRST, range)
    }

    /// Adds a range of RAM on `node`. Memory that no range covers is a hole: touching it faults.
    pub fn ram_on(mut self, node: NodeId, range: PhysRange) -> Self {
        self.ram.push(Ram { range, node });
        self
    }

    /// Tells whether CPUs are bound to cores of the host.
    pub fn pinning(mut self, pinning: CorePinning) -> Self {
        self.pinning = pinning;
        self
    }

    /// Tells whether the host may back touched RAM by large pages.
    pub fn large_pages(mut self, large_pages: LargePages) -> Self {
        self.large_pages = large_pages;
        self
    }

    /// Checks the configuration, and sorts its RAM.
    ///
    /// # Errors
    /// The first rule of [`ConfigError`] that it breaks.
    pub(crate) fn checked(mut self) -> Result<Self, ConfigError> {
        self.check()?;
        self.ram.sort_by_key(|ram| ram.range.start());
        for pair in self.ram.windows(2) {
            if pair[0].range.overlaps(pair[1].range) {
                return Err(ConfigError::Overlap { first: pair[0], second: pair[1] });
            }
        }
        Ok(self)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_NODES).contains(&self.nodes) {
            return Err(ConfigError::BadNodeCount { asked: self.nodes });
        }
        if self.cpus.is_empty() {
            return Err(ConfigError::NoCpu);
        }
        if self.asked > MAX_CPUS {
            return Err(ConfigError::TooManyCpus { asked: self.asked });
        }
        let mut named = self.cpus.iter().copied().chain(self.ram.iter().map(|ram| ram.node));
        if let Some(node) = named.find(|node| node.index() >= self.nodes) {
            return Err(ConfigError::NoSuchNode { node, nodes: self.nodes });
        }
        if self.ram.is_empty() {
            return Err(ConfigError::NoRam);
        }
        for &Ram { range, .. } in &self.ram {
            if range.is_empty() {
                return Err(ConfigError::EmptyRange { range });
            }
            if !range.is_aligned(PageSize::Size4K) {
                return Err(ConfigError::UnalignedRange { range });
            }
            if range.end() > PHYS_LIMIT {
                return Err(ConfigError::BeyondLimit { range });
            }
        }
        Ok(())
    }
}
