//! [`Part`]: the handle to a stretch of a block; [`PartInfo`]: what reports say of one.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrayvec::ArrayString;
use rhumb_frames::Owner;
use rhumb_machine::{VirtAddr, VirtRange};

use crate::kind::Kind;

/// A stretch of a block that its holder alone has, until it gives the handle back to the pool.
///
/// The handle can be moved, and not copied, so that a part is freed once. Its pool knows its own handles, and refuses
/// others'. A part whose handle is lost stays as it is permanently; the pool goes on naming its owner.
///
/// The holder who lets a CPU run the part, or gives out the address of its data, keeps the handle until no CPU does
/// that any more: running code is `unsafe`, and this is its promise.
///
/// ```compile_fail,E0382
/// use rhumb_code::{CodePool, Home, Part};
/// fn twice<H: Home>(pool: &CodePool<H>, part: Part) {
///     let _ = pool.free([part]);
///     let _ = pool.free([part]);
/// }
/// ```
/// ```compile_fail,E0599
/// fn copy(part: &rhumb_code::Part) -> rhumb_code::Part {
///     part.clone()
/// }
/// ```
#[must_use = "a part that is lost stays in its pool permanently"]
#[derive(Debug)]
pub struct Part {
    pub(crate) pool: PoolId,
    pub(crate) kind: Kind,
    pub(crate) start: VirtAddr,
    pub(crate) bytes: u64,
    pub(crate) contents: Contents,
}

/// Whether a part was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contents {
    /// It has the value of free bytes.
    Fill,
    /// It has the bytes of its holder.
    Written,
}

impl Part {
    /// Returns the address of its first byte, which does not change.
    pub const fn address(&self) -> VirtAddr {
        self.start
    }

    /// Returns how many bytes were asked for.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns its addresses.
    pub fn range(&self) -> VirtRange {
        VirtRange::of_length(self.start, self.bytes).unwrap_or_default()
    }

    /// Returns its kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Tells whether it was written: a part is written once.
    pub const fn is_written(&self) -> bool {
        matches!(self.contents, Contents::Written)
    }
}

/// The number of a pool, by which it knows its own handles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PoolId(u64);

impl PoolId {
    /// Returns the number of a new pool, which no other pool has: 64 bits do not run out, because a program that makes
    /// a pool each nanosecond needs 584 years for them.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

/// Bytes of a name that are kept.
const NAME_BYTES: usize = 23;

/// The name of a part: of its module or program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PartName(ArrayString<NAME_BYTES>);

impl PartName {
    /// No name.
    pub const EMPTY: Self = Self(ArrayString::new_const());

    /// Returns the name, or as much of its beginning as is kept.
    pub fn new(name: &str) -> Self {
        let mut kept = ArrayString::new();
        for letter in name.chars() {
            if kept.try_push(letter).is_err() {
                break;
            }
        }
        Self(kept)
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A part as reports show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartInfo {
    /// Its addresses, as asked for.
    pub range: VirtRange,
    /// Its kind.
    pub kind: Kind,
    /// The part of the kernel that it is for.
    pub owner: Owner,
    /// Its name.
    pub name: PartName,
    /// Whether it was written.
    pub is_written: bool,
}
