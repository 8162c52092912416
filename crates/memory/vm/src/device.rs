//! Memory of devices: frames that no allocator has, at addresses of a map.

use rhumb_machine::{Machine, PageSize, Pfn, PfnRange, VirtAddr, VirtRange};
use rhumb_pagetable::CacheMode;

use crate::allocate::Allocation;
use crate::error::{Resource, VmError};
use crate::map::Map;
use crate::space::Space;
use crate::word::{DeviceCache, Marks};

const PAGE: u64 = PageSize::Size4K.bytes();

/// Frames of a device, and the right to map them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device {
    frames: PfnRange,
    cache: DeviceCache,
}

impl Device {
    /// Names the frames of a device. `None` for no frames, and for a cache mode that may keep what is read or written:
    /// a device is mapped uncached, write-combining or write-through.
    ///
    /// # Safety
    /// The frames are a device's: no memory that an allocator has, or lends. Programs that have them mapped may use the
    /// device, also where it reads and writes memory.
    ///
    /// ```compile_fail,E0133
    /// # use rhumb_machine::PfnRange;
    /// # use rhumb_pagetable::CacheMode;
    /// fn all_of_it(frames: PfnRange) -> Option<rhumb_vm::Device> {
    ///     rhumb_vm::Device::new(frames, CacheMode::Uncached)
    /// }
    /// ```
    #[expect(unsafe_code, reason = "the caller knows what is a device")]
    pub const unsafe fn new(frames: PfnRange, cache: CacheMode) -> Option<Self> {
        match DeviceCache::of(cache) {
            Some(cache) if !frames.is_empty() => Some(Self { frames, cache }),
            _ => None,
        }
    }

    /// Returns the frames.
    pub const fn frames(&self) -> PfnRange {
        self.frames
    }
}

impl<S: Space> Map<S> {
    /// Maps a device, where `request` says and with its rights. The pages of the request are the device's. They are there
    /// at once, and are charged as addresses alone. A fork has the same frames, unless they are not inherited; they are
    /// neither copied nor purged.
    ///
    /// # Errors
    /// Those of [`Map::allocate`].
    pub fn map_device(&self, request: &Allocation, device: &Device) -> Result<VirtRange, VmError> {
        let request = request.of_pages(device.frames.frames());
        let marks = request.marks().device(device.cache);
        self.with_room(&request, |range| self.enter_device(range, device.frames.start(), marks))
    }

    fn enter_device(&self, range: VirtRange, first: Pfn, marks: Marks) -> Result<(), VmError> {
        let guard = self.space.machine().pin();
        let pages = range.bytes() / PAGE;
        // A table for each 2 MiB, because each page has a word of its own.
        let last = VirtAddr::new(range.end().get() - 1);
        let large = PageSize::Size2M.bytes();
        let most = self.survey(range)? + last.get() / large - range.start().get() / large + 1;
        self.account.take(Resource::Addresses, pages).map_err(VmError::Limit)?;
        let mut chain = self
            .take_tables(guard.pinned(), most)
            .inspect_err(|_| self.account.give(Resource::Addresses, pages))?;
        for page in 0..pages {
            let word = self.word_of(first.plus(page), marks);
            if let Some(part) = VirtRange::of_length(range.start().plus(page * PAGE), PAGE) {
                self.fill(part, word, &mut chain);
            }
        }
        self.return_tables(guard.pinned(), chain);
        Ok(())
    }
}
