//! Breaks the running kernel's direct map, until reboot.
//!
//! A page of secret memory that is touched leaves the map, and so breaks the large page that maps it. The kernel decides
//! where the page lies. An allocator hands out neighbouring pages one after the other, so secret pages alone would fill one
//! block of 2 MiB after the other, at tens of microseconds for each page. Between two of them, the study therefore takes as
//! many ordinary pages as a block has left, of the kind that the allocator puts beside secret ones: then nearly every secret
//! page breaks another block. Such pages need root. Without it, all pages are secret, and the limit of locked memory bounds
//! how much can be broken.
//!
//! All of it is given back at the end. The blocks stay broken.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rhumb_study_system::{Session, Task};

use crate::error::Error;
use crate::frames::Frames;
use crate::proc::Root;
use crate::proc::counters::{DirectMap, KIB_4, MIB_2, Splits};
use crate::ramfs::unmovable_file;
use crate::room::{lockable, room};
use crate::secret::FileMemory;

/// Pages of ordinary memory between two secret ones: with one of those, a block of 2 MiB.
pub(crate) const BETWEEN: usize = (MIB_2 / KIB_4) as usize - 1;

/// How many steps are taken between two looks at the memory that is left.
const LOOK_AFTER: u64 = 32;

/// The map's counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    /// The map by page size.
    pub(crate) map: DirectMap,
    /// Its splits since boot.
    pub(crate) splits: Splits,
}

impl Moment {
    /// Reads the counters.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub(crate) fn now(root: &Root) -> Result<Self, Error> {
        let read = |name: &str| {
            root.proc(name).map_err(|why| Error::Unreadable { path: format!("/proc/{name}"), why })
        };
        Ok(Self { map: DirectMap::parse(&read("meminfo")?), splits: Splits::parse(&read("vmstat")?) })
    }

    /// Returns the bytes in pages of 4 KiB.
    pub(crate) fn small(&self) -> u64 {
        self.map.small.unwrap_or(0)
    }
}

/// Why breaking ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// As much is broken as was wanted.
    Reached,
    /// More memory may not be taken.
    Memory,
    /// More memory may not be locked: the limit in bytes.
    Locked(u64),
    /// The user ended the study.
    Cancelled,
}

/// The result of breaking.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Broken {
    /// The counters before.
    pub(crate) before: Moment,
    /// The counters after all memory was given back.
    pub(crate) after: Moment,
    /// Secret pages that were touched.
    pub(crate) secret_pages: u64,
    /// The 2-MiB blocks of physical memory in which they were, where the kernel tells.
    pub(crate) blocks: BTreeSet<u64>,
    /// Why it ended.
    pub(crate) ended: Ended,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Breaks the map until `small_bytes` of it are in pages of 4 KiB, or a bound is met.
///
/// # Errors
/// [`Error::Measurement`] where secret memory cannot be had at all.
pub(crate) fn break_map(
    root: &Root,
    small_bytes: u64,
    session: &Session,
    task: &Task<'_>,
) -> Result<Broken, Error> {
    let began = Instant::now();
    let before = Moment::now(root)?;
    let wanted = small_bytes.saturating_sub(before.small());
    // The first page at which the process may be asked to end for want of memory shall be one of the study's.
    let priority = OutOfMemoryPriority::raise();
    let mut breaker = Breaker::new(room(root))?;
    let frames = Frames::open().ok();
    let mut blocks = BTreeSet::new();
    let ended = loop {
        if session.is_ending() {
            break Ended::Cancelled;
        }
        if breaker.secret_pages.is_multiple_of(LOOK_AFTER) {
            let done = Moment::now(root)?.small().saturating_sub(before.small());
            task.set(done.min(wanted) >> 20, (wanted >> 20).max(1));
            if room(root) < 2 * LOOK_AFTER * MIB_2 {
                break if done >= wanted { Ended::Reached } else { Ended::Memory };
            }
        }
        // The counters take longer to read than one page takes to break.
        let is_time = breaker.is_spread() || breaker.secret_pages.is_multiple_of(LOOK_AFTER);
        if is_time && Moment::now(root)?.small() >= small_bytes {
            break Ended::Reached;
        }
        match breaker.step() {
            Ok(address) => blocks.extend(frames.as_ref().and_then(|frames| frames.block(address))),
            Err(ended) => break ended,
        }
    };
    let secret_pages = breaker.secret_pages;
    drop(breaker);
    drop(priority);
    Ok(Broken { before, after: Moment::now(root)?, secret_pages, blocks, ended, took: began.elapsed() })
}

/// Secret pages among ordinary ones.
#[derive(Debug)]
pub(crate) struct Breaker {
    secret: FileMemory,
    /// The file of ordinary pages, with a block's worth of them; `None` where all pages are secret.
    ordinary: Option<(File, Vec<u8>)>,
    secret_pages: u64,
    /// The limit of locked memory, if there are no more pages because of it.
    locked: Option<u64>,
}

impl Breaker {
    /// Reserves addresses for as many blocks as `bytes` has, and no memory yet.
    pub(crate) fn new(bytes: u64) -> Result<Self, Error> {
        let blocks = (bytes / MIB_2) as usize;
        if blocks == 0 {
            return Err(Error::Measurement(
                "too little memory is free to break the map: free some".to_owned(),
            ));
        }
        let limit = lockable();
        if limit.is_some_and(|bytes| bytes < KIB_4) {
            return Err(Error::Measurement(
                "no memory may be locked: raise the limit with `ulimit -l`, or run as root".to_owned(),
            ));
        }
        let ordinary = unmovable_file().ok().map(|file| (file, vec![1; BETWEEN * KIB_4 as usize]));
        let wanted = if ordinary.is_some() { blocks } else { blocks * (BETWEEN + 1) };
        let (pages, locked) = bounded(wanted, limit);
        let secret = FileMemory::secret(pages * KIB_4 as usize)
            .map_err(|error| Error::Measurement(format!("secret memory cannot be had: {error}")))?;
        Ok(Self { secret, ordinary, secret_pages: 0, locked })
    }

    /// Tells whether a block's rest is taken by ordinary pages.
    pub(crate) fn is_spread(&self) -> bool {
        self.ordinary.is_some()
    }

    /// Touches a secret page and a block's rest of ordinary ones, and returns the secret page's address.
    pub(crate) fn step(&mut self) -> Result<usize, Ended> {
        self.timed_step().map(|(address, _)| address)
    }

    /// Does as [`Breaker::step`], and returns the nanoseconds that the secret page took as well.
    pub(crate) fn timed_step(&mut self) -> Result<(usize, f64), Ended> {
        let offset = self.secret_pages as usize * KIB_4 as usize;
        if offset >= self.secret.bytes() {
            return Err(self.locked.map_or(Ended::Memory, Ended::Locked));
        }
        let began = Instant::now();
        self.secret.touch(offset);
        let ns = began.elapsed().as_nanos() as f64;
        if let Some((file, pages)) = &self.ordinary {
            let place = self.secret_pages * pages.len() as u64;
            file.write_all_at(pages, place).map_err(|_| Ended::Memory)?;
        }
        self.secret_pages += 1;
        Ok((self.secret.address() + offset, ns))
    }
}

/// Returns how many of the `wanted` pages may be locked, and the limit if those are fewer.
fn bounded(wanted: usize, limit: Option<u64>) -> (usize, Option<u64>) {
    let lockable = limit.map_or(usize::MAX, |bytes| (bytes / KIB_4) as usize);
    (wanted.min(lockable), limit.filter(|_| lockable < wanted))
}

/// The wish that the kernel ends this process first where memory is short. The old wish comes back when this goes.
struct OutOfMemoryPriority(Option<String>);

impl OutOfMemoryPriority {
    const PATH: &str = "/proc/self/oom_score_adj";

    fn raise() -> Self {
        let before = std::fs::read_to_string(Self::PATH).ok();
        let raised = std::fs::write(Self::PATH, "900").is_ok();
        Self(before.filter(|_| raised))
    }
}

impl Drop for OutOfMemoryPriority {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = std::fs::write(Self::PATH, before.trim());
        }
    }
}
