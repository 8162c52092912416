//! The interface of an object allocator that takes part.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

use rhumb_hosted::{HostedMachine, Machine};
use rhumb_machine::{CpuId, PageSize, PhysRange, Pinned};

use crate::driver::Unfit;

/// The memory that a subject without a host's memory manages, and its users.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    machine: &'static HostedMachine,
    pub(crate) memory: PhysRange,
    pub(crate) cpus: usize,
}

impl Place {
    pub(crate) fn new(machine: &'static HostedMachine, memory: PhysRange, cpus: usize) -> Self {
        Self { machine, memory, cpus }
    }

    pub(crate) fn machine(&self) -> &'static HostedMachine {
        self.machine
    }

    /// Returns the first byte of the memory: aligned to 4 KiB at least.
    pub(crate) fn base(&self) -> *mut u8 {
        self.machine.direct(self.memory.start()).as_mut_ptr()
    }

    /// Returns how much memory there is, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.bytes() as usize
    }

    /// Runs `work` on the boot CPU, as a kernel does when it sets its allocator up.
    pub(crate) fn on_boot_cpu<T: Send>(&self, work: impl FnOnce(Pinned<'_>) -> T + Send) -> Result<T, Unfit> {
        self.machine.enter(CpuId::BOOT, |cpu| work(cpu.pinned())).map_err(|error| Unfit(error.to_string()))
    }
}

/// An object allocator as the workloads see it. All CPUs use one value of it at once.
pub(crate) trait ObjectSubject: Sized + Sync + 'static {
    /// Its name in table and file.
    const NAME: &'static str;

    /// Returns an allocator with nothing allocated. Workloads of one size say it beforehand, for caches of one size.
    fn fresh(place: &Place, one_size: Layout) -> Result<Self, Unfit>;

    /// Returns an object, or `None`.
    fn get(&self, pinned: Pinned<'_>, layout: Layout) -> Option<NonNull<u8>>;

    /// Gives an object back.
    ///
    /// # Safety
    /// `get` gave it out with the same layout, and its owner lets it go.
    unsafe fn put(&self, pinned: Pinned<'_>, object: NonNull<u8>, layout: Layout);

    /// Returns an object of the one size: its layout is known when this is compiled.
    #[inline(always)]
    fn get_one<const BYTES: usize>(&self, pinned: Pinned<'_>) -> Option<NonNull<u8>> {
        self.get(pinned, one_size::<BYTES>())
    }

    /// Gives an object back that [`ObjectSubject::get_one`] gave out.
    ///
    /// # Safety
    /// As with [`ObjectSubject::put`].
    #[inline(always)]
    unsafe fn put_one<const BYTES: usize>(&self, pinned: Pinned<'_>, object: NonNull<u8>) {
        // SAFETY: the caller promises an object of this layout that no code uses any more.
        unsafe { self.put(pinned, object, one_size::<BYTES>()) }
    }

    /// Gives back the objects of this CPU's caches, then all unused memory, as far as the allocator can be asked to.
    fn reclaim(&self, _pinned: Pinned<'_>) {}

    /// Returns how many bytes the allocator holds, where the process has grown by `touched_bytes`.
    fn held_bytes(&self, touched_bytes: u64) -> u64 {
        touched_bytes
    }
}

/// Returns the layout of objects of one size.
pub(crate) const fn one_size<const BYTES: usize>() -> Layout {
    const {
        match Layout::from_size_align(BYTES, 8) {
            Ok(layout) => layout,
            Err(_) => panic!("a size that no object has"),
        }
    }
}

/// An allocator whose users call it through [`GlobalAlloc`].
pub(crate) trait GlobalSubject: GlobalAlloc + Sized + Sync + 'static {
    /// Its name in table and file.
    const NAME: &'static str;

    /// Makes an allocator, as [`ObjectSubject::fresh`] does.
    fn fresh(place: &Place) -> Result<Self, Unfit>;

    /// Gives memory back, as [`ObjectSubject::reclaim`] does.
    fn reclaim(&self) {}

    /// Returns how much it holds, as [`ObjectSubject::held_bytes`] does.
    fn held_bytes(&self, touched_bytes: u64) -> u64 {
        touched_bytes
    }
}

impl<G: GlobalSubject> ObjectSubject for G {
    const NAME: &'static str = G::NAME;

    fn fresh(place: &Place, _one_size: Layout) -> Result<Self, Unfit> {
        G::fresh(place)
    }

    #[inline(always)]
    fn get(&self, _pinned: Pinned<'_>, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: no workload asks for a size of zero.
        NonNull::new(unsafe { self.alloc(layout) })
    }

    #[inline(always)]
    unsafe fn put(&self, _pinned: Pinned<'_>, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises an object of this layout that no code uses any more.
        unsafe { self.dealloc(object.as_ptr(), layout) }
    }

    fn reclaim(&self, _pinned: Pinned<'_>) {
        G::reclaim(self);
    }

    fn held_bytes(&self, touched_bytes: u64) -> u64 {
        G::held_bytes(self, touched_bytes)
    }
}

/// Returns the bytes of this process that are in memory: exact, where `statm` is a guess.
pub(crate) fn resident_bytes() -> Result<u64, Unfit> {
    let text =
        std::fs::read_to_string("/proc/self/smaps_rollup").map_err(|error| Unfit(error.to_string()))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| Unfit("the host does not say how much memory it gave".to_owned()))
}

/// Whole 4-KiB frames.
pub(crate) const FRAME_BYTES: usize = PageSize::Size4K.bytes() as usize;
