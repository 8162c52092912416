//! The interface of a page-frame allocator that takes part.

use std::hint::black_box;

use rhumb_hosted::HostedMachine;
use rhumb_machine::{CpuId, Order, PageSize, Pfn, PfnRange, PhysAddr, PhysRange, Pinned, impossible};

use crate::driver::Unfit;

/// The memory that a subject manages, and the CPUs that will use it.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    machine: &'static HostedMachine,
    pub(crate) memory: PhysRange,
    pub(crate) cpus: usize,
}

impl Region {
    pub(crate) fn new(machine: &'static HostedMachine, start: PhysAddr, bytes: u64, cpus: usize) -> Self {
        let memory = PhysRange::of_length(start, bytes).unwrap_or_default();
        Self { machine, memory, cpus }
    }

    pub(crate) fn machine(&self) -> &'static HostedMachine {
        self.machine
    }

    pub(crate) fn frames(&self) -> PfnRange {
        self.memory.whole_frames()
    }

    /// Runs `work` on the boot CPU, as a kernel does when it sets its allocator up.
    pub(crate) fn on_boot_cpu<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Unfit> {
        self.machine.enter(CpuId::BOOT, |_| work()).map_err(|error| Unfit(error.to_string()))
    }

    /// Returns the memory right below the region, `bytes` rounded up to frames: for subjects that keep their metadata
    /// in the memory that they are given, so that the region itself stays whole.
    #[cfg_attr(not(feature = "frame-competitors"), allow(dead_code, reason = "competitors alone ask"))]
    pub(crate) fn below(&self, bytes: u64) -> Result<PhysRange, Unfit> {
        let bytes = bytes.next_multiple_of(PageSize::Size4K.bytes());
        let end = self.memory.start();
        match end.get().checked_sub(bytes) {
            Some(start) => Ok(PhysRange::new(PhysAddr::new(start), end)
                .unwrap_or_else(|| impossible!("{start:#x} is above {end}" => PhysRange::default()))),
            None => Err(Unfit(format!("{bytes} bytes of metadata do not fit below the region"))),
        }
    }
}

/// Frames that a compaction moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Moved(pub(crate) u64);

/// A page-frame allocator as the workloads see it. All CPUs use one value of it at once.
pub(crate) trait FrameSubject: Sized + Send + Sync + 'static {
    /// Its name in table and file.
    const NAME: &'static str;

    /// The thing that it hands out: a handle, or a bare number where it knows no handles. Dropping it does nothing.
    type Held: Send;

    /// Memory for its metadata, allocated and touched before the clock starts, as a kernel's would be mapped already.
    type Storage: Send;

    /// Makes room for the metadata.
    fn storage(region: &Region) -> Result<Self::Storage, Unfit>;

    /// Returns an allocator with all of the region free: this is what initialisation measures.
    fn new(region: &Region, storage: Self::Storage) -> Result<Self, Unfit>;

    /// Metadata that a get or a put may touch, in bytes for all of the region; `None` where it cannot be told.
    fn metadata_bytes(&self) -> Option<u64>;

    /// Tells whether it knows blocks of this order at all.
    fn serves(_order: Order) -> bool {
        true
    }

    /// Returns one block, or `None`.
    fn get(&self, pinned: Pinned<'_>, order: Order) -> Option<Self::Held>;

    /// Gives a block back that `get` gave out with the same order.
    fn put(&self, pinned: Pinned<'_>, held: Self::Held, order: Order);

    /// Returns its first frame.
    fn first(&self, held: &Self::Held) -> Pfn;

    /// Gives back what this CPU's caches hold, where the allocator can be asked to.
    fn drain(&self, _pinned: Pinned<'_>) {}

    /// Whether [`FrameSubject::compact`] does anything.
    const MOVES: bool = false;

    /// Brings free frames together by moving what is held, where the allocator can. Takes and returns all that is held.
    fn compact(
        &self,
        _pinned: Pinned<'_>,
        held: Vec<(Self::Held, Order)>,
    ) -> (Vec<(Self::Held, Order)>, Moved) {
        (held, Moved(0))
    }

    /// Returns a fresh allocator over all of the region.
    fn fresh(region: &Region) -> Result<Self, Unfit> {
        let storage = Self::storage(region)?;
        region.on_boot_cpu(|| Self::new(region, storage))?
    }
}

/// Zeroed memory for metadata, backed by the host already.
#[derive(Debug)]
pub(crate) struct Zeroed(Box<[u64]>);

impl Zeroed {
    /// Allocates and touches.
    pub(crate) fn touched(bytes: usize) -> Self {
        let mut words = vec![0u64; bytes.div_ceil(8)].into_boxed_slice();
        // The process's allocator may hand out pages that the host has not backed yet: a write to each makes it.
        words.iter_mut().step_by(512).for_each(|word| *word = black_box(0));
        Self(words)
    }

    /// Returns the memory itself.
    pub(crate) fn into_words(self) -> Box<[u64]> {
        self.0
    }
}
