//! The end of the direct map that the command line asks for (`directmap_limit=`), held against the memory there is.

use core::fmt;

use rhumb_machine::{PageSize, PhysAddr};

use super::MemoryMap;

/// Why a direct map does not end where it was asked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapEndFinding {
    /// The limit is within a frame: the map ends before that frame.
    WithinFrame {
        /// The limit.
        limit: PhysAddr,
        /// Where the map ends.
        end: PhysAddr,
    },
    /// All RAM is below the limit, and so in the map.
    PastAllRam {
        /// The limit.
        limit: PhysAddr,
        /// Where RAM ends.
        ram_end: PhysAddr,
    },
    /// Something that the map must show lies past the limit. The map shows all RAM.
    BelowImage {
        /// The limit.
        limit: PhysAddr,
        /// Where the kernel's image ends.
        image_end: PhysAddr,
    },
    /// Too little RAM is free below the limit. The map shows all RAM.
    TooLow {
        /// The limit.
        limit: PhysAddr,
        /// Free RAM below the limit.
        free_bytes: u64,
        /// The kernel's need.
        needed_bytes: u64,
    },
}

impl fmt::Display for MapEndFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WithinFrame { limit, end } => {
                write!(f, "{limit} is no multiple of 4 KiB: the direct map ends at {end}")
            }
            Self::PastAllRam { limit, ram_end } => {
                write!(f, "RAM ends at {ram_end}, below {limit}: all of it is in the direct map")
            }
            Self::BelowImage { limit, image_end } => write!(
                f,
                "{limit} is below the end of the kernel's image, {image_end}: the direct map shows all RAM"
            ),
            Self::TooLow { limit, free_bytes, needed_bytes } => write!(
                f,
                "{} KiB of RAM are free below {limit}, and the kernel needs {} KiB there: the direct map shows all RAM",
                free_bytes >> 10,
                needed_bytes >> 10
            ),
        }
    }
}

impl MemoryMap {
    /// Returns where the direct map is to end, if not with RAM: at `limit`, where that leaves the kernel's image, which
    /// ends at `image_end`, and `needed_bytes` of free RAM in the map. A finding says why the map ends elsewhere.
    pub fn map_end(
        &self,
        limit: PhysAddr,
        image_end: PhysAddr,
        needed_bytes: u64,
    ) -> (Option<PhysAddr>, Option<MapEndFinding>) {
        let (end, ram_end) = (limit.align_down(PageSize::Size4K), self.ram_end());
        if end >= ram_end {
            return (None, Some(MapEndFinding::PastAllRam { limit, ram_end }));
        }
        if end < image_end {
            return (None, Some(MapEndFinding::BelowImage { limit, image_end }));
        }
        let below = |start: PhysAddr| start.min(end).get();
        let free = self.usable().map(|range| below(range.end()) - below(range.start()));
        let free_bytes = free.sum();
        if free_bytes < needed_bytes {
            return (None, Some(MapEndFinding::TooLow { limit, free_bytes, needed_bytes }));
        }
        (Some(end), (end < limit).then_some(MapEndFinding::WithinFrame { limit, end }))
    }
}
