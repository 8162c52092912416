//! Memory of devices: frames that no allocator has, at addresses of a map.

use rhumb_machine::{PageSize, Pfn, PfnRange, VirtRange};
use rhumb_pagetable::CacheMode;

use crate::allocate::Allocation;
use crate::error::VmError;
use crate::fill::Words;
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
        self.prepare(range, 0, |act| act(range, Words::OfPages))?;
        for page in 0..range.bytes() / PAGE {
            if let Some(part) = VirtRange::of_length(range.start().plus(page * PAGE), PAGE) {
                self.fill(part, self.word_of(first.plus(page), marks));
            }
        }
        Ok(())
    }
}
