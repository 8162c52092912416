//! Registers of devices that the kernel uses in memory: which pages boot maps, and where they are afterwards.

use arrayvec::ArrayVec;
use rhumb_bootinfo::MemoryMap;
use rhumb_bootinfo::firmware::Topology;
use rhumb_machine::{PageSize, PhysRange, VirtAddr};

use super::refuse;
use crate::arch::apic;
use crate::arch::features::features;
use crate::facts::{Device, MAX_DEVICES};
use crate::platform::{console, power};

/// Registers of an APIC: one page.
pub const DEVICE_PAGE_BYTES: u64 = 4096;
pub const LOCAL_APIC: &str = "local APIC";
const IO_APIC: &str = "I/O APIC";
const POWER: &str = "power control";
const CONSOLE: &str = "serial port";
const HPET: &str = "event timer";

/// Returns the pages of device registers to map, each once: two I/O APICs may share one.
///
/// Where the firmware calls such a page RAM, one of its tables is wrong. The page is taken out of RAM and used as
/// registers: if it is RAM after all, a page is lost and nothing else. Only a page that holds something already, the
/// kernel or the loader's data, is RAM for certain and holds no registers.
pub fn list(topology: &Topology, map: &mut MemoryMap) -> ArrayVec<Device, MAX_DEVICES> {
    let mut devices = ArrayVec::<Device, MAX_DEVICES>::new();
    let local = apic::page_to_map().map(|at| (LOCAL_APIC, at));
    let io_apics = topology.io_apics.iter().map(|io_apic| (IO_APIC, io_apic.address));
    let power = power::registers_in_memory(&topology.power).map(|at| (POWER, at));
    let console = console::registers_in_memory().map(|at| (CONSOLE, at));
    // A table may name an address that this CPU does not have.
    let hpet = topology.hpet.filter(|at| at.get() >> features().physical_bits == 0).map(|at| (HPET, at));
    for (name, at) in local.into_iter().chain(io_apics).chain(power).chain(console).chain(hpet) {
        let Some(page) = PhysRange::of_length(at.align_down(PageSize::Size4K), DEVICE_PAGE_BYTES) else {
            log::warn!("the firmware places an {name} at {at}, where addresses end: not used");
            continue;
        };
        if map.exclude(page).unwrap_or_else(|error| refuse(error)) {
            log::warn!("the memory map calls the {name} at {at} RAM: it is not used as such");
        }
        if map.ram().any(|ram| ram.overlaps(page)) {
            if name == LOCAL_APIC {
                refuse(format_args!("the {name} is at {at}, where the loader placed something in RAM"));
            }
            log::warn!(
                "the firmware places an {name} at {at}, where the loader placed something in RAM: not used"
            );
        } else if devices.iter().all(|device| device.phys != page) {
            devices.push(Device { name, phys: page, virt: VirtAddr::ZERO });
        }
    }
    devices
}
