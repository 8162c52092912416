//! The use of an address, for reports and lists: from any context, without a lock.

use core::fmt;

use rhumb_frames::Descriptor;
use rhumb_machine::{CpuId, Pfn, VirtAddr};

use crate::cpu::area::stack_at;
use crate::cpu::stacks::Part;
use crate::facts;
use crate::layout::{self, Stack, image, range};

/// The use of an address. Displays as a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    User,
    DirectMap { offset: u64 },
    Stack { cpu: CpuId, stack: Stack },
    Guard { cpu: CpuId, stack: Stack },
    Device { name: &'static str },
    LongMapping,
    Areas,
    KernelMap,
    Descriptors { of: Pfn },
    Window { cpu: CpuId },
    Segments { cpu: CpuId },
    Text,
    RoData,
    Data,
    Code,
    Nothing,
}

/// Returns the use of `address`, mapped or not.
pub fn place_of(address: VirtAddr) -> Place {
    let direct_map = layout::direct_map();
    if direct_map.contains(address) {
        return Place::DirectMap { offset: address.since(direct_map.start()) };
    }
    match stack_at(address) {
        Some((cpu, stack, Part::Guard)) => return Place::Guard { cpu, stack },
        Some((cpu, stack, Part::Pages)) => return Place::Stack { cpu, stack },
        None => {}
    }
    let mut devices = facts::boot().into_iter().flat_map(|boot| &boot.devices);
    if let Some(device) = devices.find(|device| device.addresses().contains(address)) {
        return Place::Device { name: device.name };
    }
    let descriptors = range(layout::DESCRIPTORS, layout::DESCRIPTORS_BYTES);
    if descriptors.contains(address) {
        let number = address.since(descriptors.start()) / size_of::<Descriptor>() as u64;
        return Place::Descriptors { of: Pfn::new(number) };
    }
    if let Some(cpu) = layout::window_at(address) {
        return Place::Window { cpu };
    }
    if let Some(cpu) = layout::entry_at(address) {
        return Place::Segments { cpu };
    }
    for (part, place) in [
        (range(layout::LONG_MAPPINGS, layout::LONG_MAPPINGS_BYTES), Place::LongMapping),
        (range(layout::AREAS, 3 * layout::MOST_AREAS_BYTES), Place::Areas),
        (range(layout::KERNEL_MAP, layout::KERNEL_MAP_BYTES), Place::KernelMap),
        (image::text(), Place::Text),
        (image::rodata(), Place::RoData),
        (image::data(), Place::Data),
        (range(layout::CODE, layout::CODE_BYTES), Place::Code),
        (layout::user(), Place::User),
    ] {
        if part.contains(address) {
            return place;
        }
    }
    Place::Nothing
}

impl Place {
    /// Returns its name in `maps`.
    pub fn name(self) -> PlaceName {
        PlaceName(self)
    }
}

/// A place as a few words.
pub struct PlaceName(Place);

impl fmt::Display for PlaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Place::User => f.write_str("user"),
            Place::DirectMap { .. } => f.write_str("direct map"),
            Place::Stack { cpu, stack } => write!(f, "CPU {cpu} {}", stack.name()),
            Place::Guard { cpu, stack } => write!(f, "CPU {cpu} {}: guard page", stack.name()),
            Place::Device { name } => f.write_str(name),
            Place::LongMapping => f.write_str("long mappings"),
            Place::Areas => f.write_str("kernel map area"),
            Place::KernelMap => f.write_str("kernel map"),
            Place::Descriptors { .. } => f.write_str("frame descriptors"),
            Place::Window { cpu } => write!(f, "CPU {cpu} windows"),
            Place::Segments { cpu } => write!(f, "CPU {cpu} segments"),
            Place::Text => f.write_str("kernel text"),
            Place::RoData => f.write_str("kernel read-only data"),
            Place::Data => f.write_str("kernel data"),
            Place::Code => f.write_str("executable memory"),
            Place::Nothing => f.write_str("?"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("the address lies in the user half, where nothing is mapped"),
            Self::DirectMap { offset } => {
                write!(f, "the address lies in the direct map, physical {offset:#x}")
            }
            Self::Stack { cpu, stack } => write!(f, "the address lies in the {} of CPU {cpu}", stack.name()),
            Self::Guard { cpu, stack } => {
                write!(
                    f,
                    "the address lies in the guard page below the {} of CPU {cpu}: the stack overflowed",
                    stack.name()
                )
            }
            Self::Device { name } => write!(f, "the address lies in the memory of a device, the {name}"),
            Self::LongMapping => f.write_str("the address lies among the long mappings"),
            Self::Areas => f.write_str(
                "the address lies among the areas of the kernel map: 'kmap' lists those that are mapped",
            ),
            Self::KernelMap => f.write_str("the address lies in the kernel map, where nothing is mapped"),
            Self::Descriptors { of } => {
                write!(f, "the address lies among the frame descriptors, in that of frame {of}")
            }
            Self::Window { cpu } => write!(f, "the address lies among the windows of CPU {cpu}"),
            Self::Segments { cpu } => {
                write!(f, "the address lies among the segment descriptors of CPU {cpu}, which are read-only")
            }
            Self::Text => f.write_str("the address lies in the kernel's text"),
            Self::RoData => f.write_str("the address lies in the kernel's read-only data"),
            Self::Data => f.write_str("the address lies in the kernel's data"),
            Self::Code => f.write_str("the address lies in the pool of executable memory"),
            Self::Nothing => f.write_str("the address lies in no part of the kernel's address space"),
        }
    }
}
