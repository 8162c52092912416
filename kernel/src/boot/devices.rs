//! Devices that the kernel uses in memory, registers and a screen: which pages boot maps, and where they are afterwards.

use arrayvec::ArrayVec;
use rhumb_bootinfo::MemoryMap;
use rhumb_bootinfo::firmware::Topology;
use rhumb_machine::{PageSize, PhysAddr, PhysRange, VirtAddr};
use rhumb_pagetable::CacheMode;

use super::places::Places;
use super::refuse;
use crate::arch::apic;
use crate::arch::features::features;
use crate::facts::{Device, MAX_DEVICES};
use crate::platform::{console, power, screen};

/// Registers of an APIC: one page.
pub const DEVICE_PAGE_BYTES: u64 = 4096;
pub const LOCAL_APIC: &str = "local APIC";
const IO_APIC: &str = "I/O APIC";
const POWER: &str = "power control";
const CONSOLE: &str = "serial port";
const HPET: &str = "event timer";
const SCREEN: &str = "screen";

/// Returns the devices to map, each with its addresses.
pub fn list(topology: &Topology, map: &mut MemoryMap, places: &mut Places) -> ArrayVec<Device, MAX_DEVICES> {
    let mut devices = registers(topology, map);
    devices.extend(video_memory(map, &devices));
    for device in &mut devices {
        device.virt = places.take_for_device(device.phys);
    }
    devices
}

/// Returns the screen's memory, whole pages. Unlike a register's page, RAM there is never taken from RAM: a screen is
/// large, and a machine without one is no worse than with a wrong one.
fn video_memory(map: &MemoryMap, devices: &[Device]) -> Option<Device> {
    let memory = screen::memory()?;
    let pages = memory.align_outward(PageSize::Size4K)?;
    let end = PhysAddr::new(1 << features().physical_bits);
    if pages.end() > end {
        log::warn!("the screen at {memory} is not used: this CPU's addresses end at {end}");
    } else if map.ram().any(|ram| ram.overlaps(pages)) {
        log::warn!("the screen at {memory} is not used: there is RAM in its pages");
    } else if let Some(device) = devices.iter().find(|device| device.phys.overlaps(pages)) {
        log::warn!("the screen at {memory} is not used: the {} is there", device.name);
    } else {
        let cache = CacheMode::WriteCombining;
        return Some(Device { name: SCREEN, phys: pages, virt: VirtAddr::ZERO, cache });
    }
    None
}

/// Returns the pages of device registers to map, each once: two I/O APICs may share one.
///
/// Where the firmware calls such a page RAM, one of its tables is wrong. The page is taken out of RAM and used as
/// registers: if it is RAM after all, a page is lost and nothing else. Only a page that holds something already, the
/// kernel or the loader's data, is RAM for certain and holds no registers.
fn registers(topology: &Topology, map: &mut MemoryMap) -> ArrayVec<Device, MAX_DEVICES> {
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
            let cache = CacheMode::UncachedStrong;
            devices.push(Device { name, phys: page, virt: VirtAddr::ZERO, cache });
        }
    }
    devices
}
