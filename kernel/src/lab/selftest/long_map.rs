//! Long mappings: all CPUs see the page, slots are flushed before they are used again, limits hold.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_frames::{Anywhere, Frame, Frames, Owner, Request};
use rhumb_longmap::{MapError, SLOTS};
use rhumb_machine::{Machine, impossible};

use super::memory::{allocator, short};
use super::{Test, memory};
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{area, work};
use crate::debug::audit::audit;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::{contents, owners, probe};
use crate::mm::long_map::{self, KernelLongMap, Mapping, map};
use crate::mm::tables;

pub const TESTS: &[Test] = &[
    Test { name: "long_map::all_cpus_see_a_page", run: all_cpus_see_a_page },
    Test { name: "long_map::i6_slots_show_the_new_page_on_all_cpus", run: i6_slots_show_the_new_page },
    Test { name: "long_map::i11_a_limit_holds", run: i11_a_limit_holds },
];

fn the_map() -> Result<&'static KernelLongMap, Failure> {
    long_map::long_map().ok_or_else(|| Failure::because("there are no long mappings"))
}

/// Maps a fresh frame, past the direct map where there is memory.
fn fresh(frames: &Frames<KernelMachine>) -> Result<Mapping, Failure> {
    let frame = {
        let guard = MACHINE.pin();
        frames.alloc_anywhere(guard.pinned(), Request::FRAME).map_err(short)?
    };
    map(frame, owners::SELF_TEST).map_err(|refused| {
        let guard = MACHINE.pin();
        frames.free(guard.pinned(), refused.frame);
        Failure::because(refused.error)
    })
}

/// Runs `test`, and finds as many mappings afterwards as before, and the books in order.
fn undone(test: impl FnOnce(&'static KernelLongMap) -> Result<(), Failure>) -> Result<(), Failure> {
    let map = the_map()?;
    let before = map.counters().held;
    let outcome = test(map);
    let after = map.counters().held;
    outcome?;
    ensure!(before == after, "{before} slots were held, {after} are");
    map.validate().map_err(Failure::because)
}

/// Written by one CPU, read by all, shown where the layout says, not executable, and sound to the audit.
fn all_cpus_see_a_page(boot: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    undone(|map| {
        let mut mapping = fresh(frames)?;
        let (stamp, at) = (0x5eed ^ mapping.pfn().get(), mapping.address());
        mapping.bytes_mut()[4088..].copy_from_slice(&stamp.to_le_bytes());
        let missed = AtomicU64::new(0);
        work::on_every_cpu(&|| {
            let found =
                mapping.bytes()[4088..].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
            missed.fetch_add(u64::from(found != stamp), Relaxed);
        });
        let missed = missed.into_inner();
        ensure!(missed == 0, "{missed} CPUs see something else at {at}");
        let shown = tables::walk(at).phys();
        ensure!(shown == Some(mapping.pfn().addr()), "{at} shows {shown:?}");
        // SAFETY: the page holds no code and is not executable; a fault is caught.
        ensure!(unsafe { probe::execute(at) }.is_err(), "a long mapping is executable");
        let findings = audit(boot, |_| ()).findings;
        ensure!(findings == 0, "the audit finds {findings} broken rules");
        let has_high = boot.direct_map.high_bytes > 0;
        ensure!(mapping.has_slot() == has_high, "{mapping:?}, where high memory is {has_high}");
        let is_listed = map.holdings().any(|holding| {
            holding.record.pfn == mapping.pfn() && holding.record.owner == owners::SELF_TEST.in_frames()
        });
        ensure!(is_listed == has_high, "the mapping's record is {is_listed}");
        let frame = mapping.unmap();
        let found = contents::read_word(&frame, 4088);
        let guard = MACHINE.pin();
        frames.free(guard.pinned(), frame);
        ensure!(found == stamp, "{found:#x} is in the frame, not {stamp:#x}");
        Ok(())
    })
}

/// Two frames take turns in more mappings than there are slots. All CPUs look at each, so that their TLBs have it; a
/// CPU that still has the translation of the slot's last mapping sees the other frame's word.
fn i6_slots_show_the_new_page(_: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    undone(|map| {
        let flushes = map.counters().flushes;
        let mut faces = [fresh(frames)?.unmap(), fresh(frames)?.unmap()];
        for frame in &mut faces {
            let word = frame.pfn().get();
            contents::write_word(frame, 0, word);
        }
        let mut faces = faces.map(Some);
        let outcome = (0..3 * SLOTS + 1).try_for_each(|turn| look(frames, &mut faces[turn % 2]));
        for frame in faces.into_iter().flatten() {
            let guard = MACHINE.pin();
            frames.free(guard.pinned(), frame);
        }
        outcome?;
        let (flushes, slots) = (map.counters().flushes - flushes, map.counters().slots);
        ensure!(slots == 0 || (2..=4).contains(&flushes), "{} mappings took {flushes} flushes", 3 * SLOTS);
        Ok(())
    })
}

/// Maps a frame, has all CPUs look at its first word, and puts it back.
fn look(frames: &Frames<KernelMachine>, face: &mut Option<Frame<Anywhere>>) -> Result<(), Failure> {
    let Some(frame) = face.take() else { return impossible!("the frame is gone" => Ok(())) };
    let word = frame.pfn().get().to_le_bytes();
    let mapping = map(frame, owners::SELF_TEST).map_err(|refused| {
        let guard = MACHINE.pin();
        frames.free(guard.pinned(), refused.frame);
        Failure::because(refused.error)
    })?;
    let wrong = AtomicU64::new(0);
    work::on_every_cpu(&|| {
        wrong.fetch_add(u64::from(mapping.bytes()[..8] != word), Relaxed);
    });
    let at = mapping.address();
    *face = Some(mapping.unmap());
    let wrong = wrong.into_inner();
    ensure!(wrong == 0, "{wrong} CPUs see another frame at {at}");
    Ok(())
}

/// An owner holds half of the slots, and is refused the next one, with its frame.
fn i11_a_limit_holds(boot: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    if boot.direct_map.high_bytes == 0 {
        return Ok(());
    }
    memory::must_be_free(SLOTS as u64)?;
    undone(|map| {
        let mut held = alloc::vec::Vec::new();
        held.try_reserve(SLOTS).map_err(short)?;
        let refusal = loop {
            let frame = {
                let guard = MACHINE.pin();
                frames.alloc_anywhere(guard.pinned(), Request::FRAME).map_err(short)?
            };
            match long_map::map(frame, owners::SELF_TEST) {
                Ok(mapping) if held.len() < SLOTS => held.push(mapping),
                Ok(_) => break None,
                Err(refused) => {
                    let guard = MACHINE.pin();
                    frames.free(guard.pinned(), refused.frame);
                    break Some(refused.error);
                }
            }
        };
        let (count, owner): (usize, Owner) = (held.len(), owners::SELF_TEST.in_frames());
        let listed = map.held_by(owner);
        drop(held);
        ensure!(
            refusal == Some(MapError::OverLimit { owner, limit: SLOTS / 2 }),
            "after {count} mappings: {refusal:?}"
        );
        ensure!(count == SLOTS / 2 && listed == count, "{count} mappings were made, {listed} are listed");
        ensure!(map.held_by(owner) == 0, "CPU {} has left some", area::cpu_now());
        Ok(())
    })
}
