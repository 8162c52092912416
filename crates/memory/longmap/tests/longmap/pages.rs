//! The pages behind mappings: on every CPU, through reuse of slots, in the direct map, and with faults planted.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use rhumb_frames::{Frame, Owner, Request};
use rhumb_hosted::Cpu;
use rhumb_longmap::planted::{self, Fault};
use rhumb_longmap::{Inconsistency, LongMapping, SLOTS};
use rhumb_machine::{CpuId, Machine};

use crate::world::*;

const WHO: Owner = Owner(3);

type Mapping = LongMapping<'static, Hosted, HostedSlots>;

fn map(world: &'static World, cpu: &Cpu<'_>) -> Mapping {
    world.map.map(cpu.pinned(), world.take(cpu.pinned()), WHO).unwrap()
}

/// Runs `work` as another CPU.
fn as_cpu<A: Send>(world: &'static World, cpu: usize, work: impl FnOnce(&Cpu<'_>) -> A + Send) -> A {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| world.machine.enter(CpuId::new(cpu).unwrap(), work).unwrap());
        thread.join().unwrap()
    })
}

#[test]
fn all_cpus_see_a_page_until_it_is_unmapped() {
    in_world(3, 16, |world, cpu| {
        let mut mapping = map(world, cpu);
        assert!(mapping.has_slot());
        mapping.bytes_mut().fill(0x5a);
        for other in [1, 2] {
            mapping = as_cpu(world, other, move |_| {
                assert!(mapping.bytes().iter().all(|&byte| byte == 0x5a + other as u8 - 1));
                mapping.bytes_mut().fill(0x5a + other as u8);
                mapping
            });
        }
        assert_eq!(mapping.bytes()[4095], 0x5c);
        world.map.validate().unwrap();
        // Unmapped on another CPU than it was mapped on, without a flush.
        let frame = as_cpu(world, 1, move |_| mapping.unmap());
        assert_eq!(world.flushes.load(Relaxed), 0);
        world.frames.free(cpu.pinned(), frame);
        world.assert_idle(cpu.pinned());
    });
}

#[test]
fn a_dropped_mapping_frees_its_frame_and_a_forgotten_one_keeps_it_on_record() {
    in_world(1, 4, |world, cpu| {
        let before = world.frames.free_frames();
        drop(map(world, cpu));
        world.frames.drain(cpu.pinned());
        assert_eq!(world.frames.free_frames(), before);
        let mapping = map(world, cpu);
        let pfn = mapping.pfn();
        std::mem::forget(mapping);
        let lost = world.map.holdings().collect::<Vec<_>>();
        assert_eq!(lost.len(), 1);
        assert_eq!((lost[0].record.owner, lost[0].record.pfn), (WHO, pfn));
        assert!(lost[0].record.place.file().ends_with("pages.rs"), "{}", lost[0].record.place);
        assert_eq!(world.frames.free_frames(), before - 1, "its frame is not free");
        world.map.validate().unwrap();
    });
}

#[test]
fn a_frame_of_the_direct_map_takes_no_slot() {
    in_world(1, 2, |world, cpu| {
        let low: Vec<_> = (0..8)
            .map(|_| {
                let frame = world.frames.alloc(cpu.pinned(), Request::FRAME).unwrap().into_anywhere();
                let pfn = frame.pfn();
                let mut mapping = world.map.map(cpu.pinned(), frame, WHO).unwrap();
                assert!(!mapping.has_slot());
                assert_eq!(mapping.address(), world.machine.direct(pfn.addr()));
                mapping.bytes_mut()[7] = pfn.get() as u8;
                mapping
            })
            .collect();
        assert!(low.iter().all(|mapping| mapping.bytes()[7] == mapping.pfn().get() as u8));
        assert_eq!(world.map.counters().held, 0);
        let frames: Vec<Frame<_>> = low.into_iter().map(LongMapping::unmap).collect();
        frames.into_iter().for_each(|frame| world.frames.free(cpu.pinned(), frame));
        world.assert_idle(cpu.pinned());
    });
}

/// Three CPUs map, stamp, look and unmap, in four slots each on average; returns how many bytes were wrong and the
/// unit's reports.
fn wrong_in_a_storm(fault: Option<Fault>) -> (u64, usize) {
    in_world(3, 12, |world, cpu| {
        let wrong = Mutex::new(0);
        for round in 0..200u32 {
            for other in [1, 2, 0] {
                let storm = |cpu: &Cpu<'_>| {
                    let mut held: Vec<Mapping> = Vec::new();
                    for turn in 0..5 {
                        let frame = world.take(cpu.pinned());
                        let Ok(mut mapping) = world.map.map(cpu.pinned(), frame, Owner(other as u16 + 1))
                        else {
                            continue;
                        };
                        let stamp = (round * 15 + other * 5 + turn).to_le_bytes();
                        mapping.bytes_mut()[..4].copy_from_slice(&stamp);
                        // SAFETY: RAM of the machine, whose holder is this mapping.
                        let real =
                            unsafe { world.machine.direct(mapping.pfn().addr()).as_ptr::<[u8; 4]>().read() };
                        *wrong.lock().unwrap() += u64::from(real != stamp);
                        held.push(mapping);
                    }
                    held.clear();
                };
                let work = |cpu: &Cpu<'_>| match fault {
                    Some(fault) => planted::with(fault, || storm(cpu)),
                    None => storm(cpu),
                };
                if other == 0 { work(cpu) } else { as_cpu(world, other as usize, work) }
            }
        }
        (wrong.into_inner().unwrap(), world.mmu().take_reports().len())
    })
}

#[test]
fn i6_no_slot_is_used_again_before_every_cpu_has_dropped_it() {
    assert_eq!(wrong_in_a_storm(None), (0, 0));
    let (wrong, reports) = wrong_in_a_storm(Some(Fault::ReusedWithoutFlush));
    assert!(wrong > 0 || reports > 0, "slots that were used again without a flush went unseen");
}

#[test]
fn one_flush_serves_all_slots_that_are_spent() {
    in_world(2, SLOTS, |world, cpu| {
        for _ in 0..10 * SLOTS {
            let mapping = map(world, cpu);
            world.frames.free(cpu.pinned(), mapping.unmap());
        }
        let counters = world.map.counters();
        assert_eq!((counters.mapped, counters.most_held), (10 * SLOTS as u64, 1));
        assert_eq!(counters.flushes, 9, "the first slots are clean from the start");
        assert_eq!(world.flushes.load(Relaxed), 9);
        world.assert_idle(cpu.pinned());
    });
}

#[test]
fn the_check_finds_an_entry_that_stays() {
    in_world(1, 4, |world, cpu| {
        let mapping = map(world, cpu);
        let frame = planted::with(Fault::EntryStays, || mapping.unmap());
        world.frames.free(cpu.pinned(), frame);
        assert_eq!(world.map.validate(), Err(Inconsistency::Entry { slot: 0 }));
    });
}
