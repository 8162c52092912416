//! The allocator as its callers see it: making it, and objects by size. The common path; the rest is one call away.

use core::alloc::Layout;
use core::ptr::NonNull;

use rhumb_frames::{AllocClass, Frames};
use rhumb_machine::{CpuId, MAX_CPUS, MAX_NODES, Machine, MemoryUse, Pinned, VirtAddr, VirtRange};

use crate::cells::Cells;
use crate::class::{self, CLASSES};
use crate::config::Config;
use crate::error::{AllocError, SpecError};
use crate::fault::Report;
use crate::line::CpuLine;
use crate::lines::{Lines, Place};
use crate::memory::Memory;
use crate::record::Record;
use crate::registry::Registry;
use crate::space::Space;
use crate::spec::{CacheSpec, Name};
use rhumb_sync::atomic::{AtomicBool, AtomicU64};

/// The object caches of a machine. See the [crate's documentation](crate) for the design.
pub struct Slabs<M: Machine + 'static> {
    pub(crate) classes: [&'static Record; CLASSES],
    pub(crate) memory: Memory<M>,
    pub(crate) cells: Cells,
    pub(crate) registry: Registry,
    pub(crate) config: Config,
    /// CPUs that are asked to drain.
    pub(crate) asked: [AtomicBool; MAX_CPUS],
    /// Frames that large objects hold.
    pub(crate) large_frames: AtomicU64,
    /// Frames given back by reclaim so far.
    pub(crate) reclaimed_frames: AtomicU64,
    /// Faults that no cache owns.
    pub(crate) faults: AtomicU64,
}

impl<M: Machine> Slabs<M> {
    /// Makes the allocator and its caches by size. They take a cell of at most 2 KiB each, or up to eight frames on a
    /// machine of more than a hundred CPUs or many nodes; slabs come with the first use. It needs some 20 KiB of stack,
    /// several times as much where the compiler does not optimise.
    ///
    /// # Errors
    /// [`SpecError::NoDescriptors`] where `frames` has none, [`SpecError::BadMachine`], [`SpecError::NoMemory`].
    pub fn new(frames: &'static Frames<M>, pinned: Pinned<'_>, config: Config) -> Result<Self, SpecError> {
        Self::with_space(frames, pinned, config, None)
    }

    /// Makes the allocator as [`Slabs::new`] does, with its objects at addresses of `space`. Slabs are mapped as they
    /// come, and unmapped as they go; all else is the same.
    ///
    /// # Errors
    /// Those of [`Slabs::new`].
    pub fn new_in(
        frames: &'static Frames<M>,
        pinned: Pinned<'_>,
        config: Config,
        space: &'static dyn Space,
    ) -> Result<Self, SpecError> {
        Self::with_space(frames, pinned, config, Some(space))
    }

    fn with_space(
        frames: &'static Frames<M>,
        pinned: Pinned<'_>,
        config: Config,
        space: Option<&'static dyn Space>,
    ) -> Result<Self, SpecError> {
        let machine_fits = (1..=MAX_CPUS).contains(&config.cpus) && (1..=MAX_NODES).contains(&config.nodes);
        if !machine_fits {
            return Err(SpecError::BadMachine);
        }
        if !frames.has_descriptors() {
            return Err(SpecError::NoDescriptors);
        }
        let (memory, cells) = (Memory::new(frames, config.owner, space), Cells::new(config.cpus));
        let registry = Registry::new(Lines::new());
        let mut classes: arrayvec::ArrayVec<&'static Record, CLASSES> = arrayvec::ArrayVec::new();
        for class in 0..CLASSES {
            let size = class::bytes(class);
            let mut name = arrayvec::ArrayString::<{ crate::spec::NAME_BYTES }>::new();
            // It fits: "kmalloc-32768".
            let _ = core::fmt::write(&mut name, format_args!("kmalloc-{size}"));
            let spec = CacheSpec { align: 1 << size.trailing_zeros(), ..CacheSpec::new(&name, size) };
            match registry.make(&memory, &cells, &config, pinned, &spec) {
                Ok(record) => classes.push(record),
                Err(error) => {
                    for record in classes {
                        // SAFETY: it was made above and never used, so it has no slabs, no magazines and no other user.
                        unsafe { registry.forget(&memory, &cells, pinned, record) };
                    }
                    cells.trim(&memory, pinned);
                    return Err(error);
                }
            }
        }
        let classes = classes.into_inner().map_err(|_| SpecError::BadMachine)?;
        Ok(Self {
            classes,
            memory,
            cells,
            registry,
            config,
            asked: core::array::from_fn(|_| AtomicBool::new(false)),
            large_frames: AtomicU64::new(0),
            reclaimed_frames: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        })
    }

    /// Returns the machine.
    #[inline(always)]
    pub const fn machine(&self) -> &'static M {
        self.memory.machine()
    }

    /// Returns the cache for objects of `layout`; `None` where the object is made of whole frames.
    pub(crate) fn class(&self, layout: Layout) -> Option<&'static Record> {
        Some(self.classes[class::holding(layout)?.number()])
    }

    /// Returns the caller's line with this place; a closed one if the CPU has no lines yet.
    #[inline(always)]
    fn line_or_closed(&self, pinned: Pinned<'_>, place: Place) -> &CpuLine {
        self.registry.lines.line_or_closed(self.cpu(pinned), place)
    }

    /// Returns the line of `cpu` of a cache; `None` if the CPU has no lines yet.
    #[inline]
    pub(crate) fn line(&self, record: &Record, cpu: CpuId) -> Option<&CpuLine> {
        self.registry.lines.line(cpu, record.place)
    }

    /// Returns all lines of a cache.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn lines_of(&self, record: &Record) -> impl Iterator<Item = &CpuLine> {
        (0..self.config.cpus).filter_map(|cpu| self.line(record, CpuId::new(cpu)?))
    }

    /// Returns the lines of a cache that may have magazines, with their CPUs. Cost: a load for each 64 CPUs.
    pub(crate) fn lines_kept(&self, record: &Record) -> impl Iterator<Item = (CpuId, &CpuLine)> {
        record.keepers.iter().filter_map(|cpu| Some((cpu, self.line(record, cpu)?)))
    }

    /// Returns memory for `layout`, its content stale; for no bytes, too. From the CPU's magazine: no lock, no locked
    /// operation, no shared line; about 2 ns.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    #[inline]
    pub fn alloc(&self, pinned: Pinned<'_>, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.alloc_as(pinned, layout, AllocClass::Ordinary)
    }

    /// Returns memory as [`Slabs::alloc`] does, for a request of another class: interrupt handlers say
    /// [`AllocClass::Atomic`], and no reclaimer is called.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    #[inline]
    pub fn alloc_as(
        &self,
        pinned: Pinned<'_>,
        layout: Layout,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        let Some(of) = class::quickly(layout) else { return self.alloc_unusual(pinned, layout, class) };
        let line = self.line_or_closed(pinned, of.place());
        self.alloc_at(line, || self.classes[of.number()], pinned, class)
    }

    /// Gives memory back.
    ///
    /// # Safety
    /// It came from [`Slabs::alloc`] with this layout, and no code uses it any more.
    #[inline]
    pub unsafe fn free(&self, pinned: Pinned<'_>, object: NonNull<u8>, layout: Layout) {
        let Some(of) = class::quickly(layout) else {
            // SAFETY: the caller promises memory of this layout that no code uses any more.
            return unsafe { self.free_unusual(pinned, object, layout) };
        };
        // SAFETY: the caller promises memory of this layout that no code uses any more; it is an object of this class.
        unsafe {
            let line = self.line_or_closed(pinned, of.place());
            self.free_at(line, || self.classes[of.number()], pinned, object)
        }
    }

    /// Returns memory for `layout` if the CPU's magazine has some.
    #[inline(always)]
    pub(crate) fn alloc_quickly(&self, pinned: Pinned<'_>, layout: Layout) -> Option<NonNull<u8>> {
        let class = class::quickly(layout)?;
        let object = self.line_or_closed(pinned, class.place()).pop()?;
        self.set_memory_use(object, class::bytes(class.number()), MemoryUse::Allowed);
        Some(object)
    }

    /// Gives memory back if the CPU's magazine has room for it, and says whether it did.
    ///
    /// # Safety
    /// The memory came from [`Slabs::alloc`] with this layout, and no code uses it any more.
    #[inline(always)]
    pub(crate) unsafe fn free_quickly(
        &self,
        pinned: Pinned<'_>,
        object: NonNull<u8>,
        layout: Layout,
    ) -> bool {
        let Some(class) = class::quickly(layout) else { return false };
        self.tell_free(|| self.classes[class.number()], object);
        self.line_or_closed(pinned, class.place()).push(object)
    }

    /// Returns an object of a cache.
    #[inline(always)]
    pub(crate) fn alloc_from(
        &self,
        record: &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        self.alloc_at(self.line_or_closed(pinned, record.place), || record, pinned, class)
    }

    /// Gives an object of a cache back.
    ///
    /// # Safety
    /// The object is of this cache, and no code uses it any more.
    #[inline(always)]
    pub(crate) unsafe fn free_to(&self, record: &'static Record, pinned: Pinned<'_>, object: NonNull<u8>) {
        // SAFETY: the caller promises an object of this cache that no code uses any more.
        unsafe { self.free_at(self.line_or_closed(pinned, record.place), || record, pinned, object) }
    }

    /// Allocates on the common path of every cache, which looks at the record only where the line does not do.
    #[inline(always)]
    fn alloc_at(
        &self,
        line: &CpuLine,
        record: impl Fn() -> &'static Record,
        pinned: Pinned<'_>,
        class: AllocClass,
    ) -> Result<NonNull<u8>, AllocError> {
        if let Some(object) = line.pop() {
            self.set_memory_use(object, record().shape.object_bytes as usize, MemoryUse::Allowed);
            return Ok(object);
        }
        self.alloc_slow(record(), pinned, class)
    }

    /// Frees on the common path of every cache.
    ///
    /// # Safety
    /// The object is of this cache, and no code uses it any more.
    #[inline(always)]
    unsafe fn free_at(
        &self,
        line: &CpuLine,
        record: impl Fn() -> &'static Record,
        pinned: Pinned<'_>,
        object: NonNull<u8>,
    ) {
        self.tell_free(&record, object);
        if !line.push(object) {
            self.free_slow(record(), pinned, object);
        }
    }

    /// Tells the machine's checker of accesses that an object is free, before a magazine has the object: a handler that
    /// comes once the magazine has it may take it and use it at once. A checked cache looks at the object first, and
    /// tells the checker itself.
    #[inline(always)]
    fn tell_free(&self, record: impl Fn() -> &'static Record, object: NonNull<u8>) {
        if M::CHECKS_ACCESSES && record().setup.checks.is_off() {
            self.set_memory_use(object, record().shape.object_bytes as usize, MemoryUse::FreeObject);
        }
    }

    /// Tells the machine's checker of accesses about memory; no instruction where the machine has none.
    #[inline(always)]
    pub(crate) fn set_memory_use(&self, start: NonNull<u8>, bytes: usize, memory_use: MemoryUse) {
        if !M::CHECKS_ACCESSES {
            return;
        }
        let start = VirtAddr::new(start.addr().get() as u64);
        if let Some(range) = VirtRange::of_length(start, bytes as u64) {
            self.machine().set_memory_use(range, memory_use);
        }
    }

    /// Returns the CPU that the token proves. A token of another machine proves nothing here, and is refused by a
    /// panic.
    #[inline(always)]
    pub(crate) fn cpu(&self, pinned: Pinned<'_>) -> CpuId {
        self.machine().cpu_of(pinned)
    }

    pub(crate) fn node_of(&self, pinned: Pinned<'_>) -> usize {
        self.machine().node_of(self.cpu(pinned)).index()
    }

    /// Reports a fault, and counts it.
    #[cold]
    pub(crate) fn report(&self, record: Option<&Record>, report: &Report) {
        record.map_or(&self.faults, |record| &record.faults).fetch_add(1, rhumb_sync::atomic::Relaxed);
        (self.config.report)(report);
    }

    /// Returns the name that reports give to memory of no cache.
    pub(crate) fn no_cache() -> Name {
        Name::new("large")
    }
}
