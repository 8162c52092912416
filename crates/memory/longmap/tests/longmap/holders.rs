//! Holders: limits, refusals, records, and random histories against a plain count.

use std::collections::HashMap;

use proptest::prelude::*;
use rhumb_frames::{Frame, Frames, Layout, MemoryRange, Owner, Request};
use rhumb_longmap::{LongMapping, MapError, OWNERS};
use rhumb_machine::{NodeId, Order, Pfn, PfnRange};

use crate::world::*;

fn give(
    world: &'static World,
    pinned: rhumb_machine::Pinned<'_>,
    refused: rhumb_longmap::Refused,
) -> MapError {
    world.frames.free(pinned, refused.frame);
    refused.error
}

#[test]
fn i11_an_owner_has_half_of_the_slots_and_all_together_have_all() {
    in_world(1, 9, |world, cpu| {
        let map = |owner: u16| {
            let frame = world.take(cpu.pinned());
            world
                .map
                .map(cpu.pinned(), frame, Owner(owner))
                .map_err(|refused| give(world, cpu.pinned(), refused))
        };
        let mut held: Vec<LongMapping<'_, _, _>> = (0..5).map(|_| map(1).unwrap()).collect();
        assert_eq!(map(1).err(), Some(MapError::OverLimit { owner: Owner(1), limit: 5 }));
        held.extend((0..4).map(|_| map(2).unwrap()));
        assert_eq!(map(2).err(), Some(MapError::AllTaken));
        assert_eq!(map(3).err(), Some(MapError::AllTaken));
        assert_eq!((world.map.held_by(Owner(1)), world.map.held_by(Owner(2))), (5, 4));
        assert_eq!(world.map.counters().refused, 3);
        world.map.validate().unwrap();
        drop(held.pop());
        drop(map(3).unwrap());
        held.clear();
        // Owners without a count of their own share one.
        let others: Vec<_> = (0..5).map(|index| map(OWNERS as u16 + index * 100).unwrap()).collect();
        assert_eq!(map(u16::MAX).err(), Some(MapError::OverLimit { owner: Owner(u16::MAX), limit: 5 }));
        drop(others);
        world.assert_idle(cpu.pinned());
    });
}

#[test]
fn blocks_and_frames_of_others_are_refused_and_come_back() {
    in_world(1, 4, |world, cpu| {
        let order = Order::new(2).unwrap();
        let block = world.frames.alloc_anywhere(cpu.pinned(), Request::new(order)).unwrap();
        let pfn = block.pfn();
        let refused = world.map.map(cpu.pinned(), block, Owner(1)).unwrap_err();
        assert_eq!((refused.error, refused.frame.pfn()), (MapError::NotOnePage { order }, pfn));
        world.frames.free(cpu.pinned(), refused.frame);

        let range = PfnRange::new(Pfn::new(1 << 20), Pfn::new((1 << 20) + 512)).unwrap();
        let memory = [MemoryRange { frames: range, node: NodeId::FIRST }];
        let layout = Layout::new(&memory, 1, Pfn::new(1 << 20)).unwrap();
        let storage = vec![0u64; layout.storage_bytes().div_ceil(8)].leak();
        // SAFETY: the frames have no memory, and nothing touches them.
        let others = unsafe { Frames::new(world.machine, &layout, [range], storage) }.unwrap();
        let frame = others.alloc_anywhere(cpu.pinned(), Request::FRAME).unwrap();
        let refused = world.map.map(cpu.pinned(), frame, Owner(1)).unwrap_err();
        assert_eq!(refused.error, MapError::OtherAllocator);
        others.free(cpu.pinned(), refused.frame);
        world.assert_idle(cpu.pinned());
    });
}

#[test]
fn without_slots_frames_past_the_map_are_refused_and_others_are_not() {
    in_world(1, 0, |world, cpu| {
        let refused = world.map.map(cpu.pinned(), world.take(cpu.pinned()), Owner(1)).unwrap_err();
        assert_eq!(refused.error, MapError::AllTaken);
        world.frames.free(cpu.pinned(), refused.frame);
        let low = world.frames.alloc(cpu.pinned(), Request::FRAME).unwrap();
        drop(world.map.map(cpu.pinned(), low.into_anywhere(), Owner(1)).unwrap());
        world.assert_idle(cpu.pinned());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any history of two owners: each is served exactly while it may be, pages keep what is written, and the list of
    /// holdings is the holders' own.
    #[test]
    fn histories_of_two_owners(
        slots in 1usize..20,
        steps in proptest::collection::vec((0u16..3, any::<usize>()), 1..200),
    ) {
        in_world(1, slots, |world, cpu| {
            let mut held: Vec<(u16, u8, LongMapping<'_, _, _>)> = Vec::new();
            let mut by_owner = HashMap::<u16, usize>::new();
            let limit = slots.div_ceil(2);
            for (count, (owner, which)) in steps.into_iter().enumerate() {
                let stamp = count as u8;
                if owner == 0 {
                    if !held.is_empty() {
                        let (owner, stamp, mapping) = held.swap_remove(which % held.len());
                        assert_eq!(mapping.bytes()[4095], stamp);
                        *by_owner.get_mut(&owner).unwrap() -= 1;
                        if which % 2 == 0 { drop(mapping) } else {
                            let frame: Frame<_> = mapping.unmap();
                            world.frames.free(cpu.pinned(), frame);
                        }
                    }
                    continue;
                }
                let mine = *by_owner.entry(owner).or_default();
                match world.map.map(cpu.pinned(), world.take(cpu.pinned()), Owner(owner)) {
                    Ok(mut mapping) => {
                        assert!(mine < limit && held.len() < slots);
                        mapping.bytes_mut()[4095] = stamp;
                        *by_owner.get_mut(&owner).unwrap() += 1;
                        held.push((owner, stamp, mapping));
                    }
                    Err(refused) => {
                        assert!(mine >= limit || held.len() == slots, "{}", refused.error);
                        world.frames.free(cpu.pinned(), refused.frame);
                    }
                }
                world.map.validate().unwrap();
                let mut mine: Vec<_> = held.iter().map(|(owner, _, mapping)| (mapping.pfn(), *owner)).collect();
                let mut listed: Vec<_> =
                    world.map.holdings().map(|held| (held.record.pfn, held.record.owner.0)).collect();
                mine.sort_unstable();
                listed.sort_unstable();
                assert_eq!(mine, listed);
            }
            held.clear();
            world.assert_idle(cpu.pinned());
        });
    }
}
