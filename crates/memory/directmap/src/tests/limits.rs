//! Limits: no owner gets past its own, alone or with another; and no owner makes others slow.

use super::fixture::{Map, Sim, frames, pfn, record_page};
use super::*;
use rhumb_machine::CpuId;

fn name(number: u64) -> OwnerName {
    OwnerName { name: "task", number: Some(number) }
}

#[test]
fn i11_no_owner_breaks_more_than_its_limit() {
    let mut sim = Sim::usual();
    sim.map.set_limits(sim.owner, Limits::of_breaks(5)).unwrap();
    let one = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent).unwrap();
    let two = sim.change(GIB + 2 * MIB, GIB + 2 * MIB + 4 * KIB, Change::NotPresent).unwrap();
    // Each page counts for its 2-MiB block and its GiB, whether they are broken already or not.
    let refused = ChangeError::OverLimit { owner: OwnerName::of("test"), broken: 4, more: 2, limit: 5 };
    for addr in [GIB + 4 * MIB, GIB + 8 * KIB, 4 * GIB] {
        assert_eq!(sim.change(addr, addr + 4 * KIB, Change::NotPresent).err(), Some(refused));
    }
    // A whole block breaks its GiB only; a whole GiB breaks nothing, and is charged for its record and its flushes.
    let large = sim.change(GIB + 4 * MIB, GIB + 6 * MIB, Change::NotPresent).unwrap();
    let refused = ChangeError::OverLimit { owner: OwnerName::of("test"), broken: 5, more: 1, limit: 5 };
    assert_eq!(sim.change(4 * GIB, 5 * GIB, Change::NotPresent).err(), Some(refused));
    sim.map.set_limits(sim.owner, Limits::of_breaks(6)).unwrap();
    let huge = sim.change(4 * GIB, 5 * GIB, Change::NotPresent).unwrap();
    assert_eq!(sim.map.owner(sim.owner).unwrap().totals.breaks, 6);
    [one, two, large, huge].into_iter().for_each(|held| sim.restore(held));
    assert_eq!(sim.map.owner(sim.owner).unwrap().totals.breaks, 0);
    sim.assert_as_at_boot();
}

#[test]
fn i11_an_owner_that_may_not_change_frames_has_none_looked_at() {
    let mut sim = Sim::usual();
    sim.map.set_limits(sim.owner, Limits::of_breaks(0)).unwrap();
    // A hole lies behind the first frames: to see it, the map would have to look at the entries.
    let change = |sim: &mut Sim| sim.change(4 * KIB, 644 * KIB, Change::NotPresent).err();
    assert!(matches!(change(&mut sim), Some(ChangeError::OverLimit { .. })));
    sim.map.set_limits(sim.owner, Limits::NONE).unwrap();
    assert_eq!(change(&mut sim), Some(ChangeError::NotInMap { pfn: pfn(640 * KIB) }));
    sim.assert_as_at_boot();
}

#[test]
fn i11_two_owners_together_break_no_more_than_both_limits_allow() {
    let mut sim = Sim::usual();
    let helper = sim.map.add_owner(name(1), Limits::of_breaks(2)).unwrap();
    let greedy = sim.map.add_owner(name(2), Limits::of_breaks(4)).unwrap();
    // The helper splits a block, the greedy one takes a page in it, the helper gives its own back: and again.
    let mut kept = Vec::new();
    for block in 0..16 {
        let addr = GIB + block * 2 * MIB;
        sim.owner = helper;
        let cut = sim.change(addr, addr + 4 * KIB, Change::NotPresent).unwrap();
        sim.owner = greedy;
        kept.extend(sim.change(addr + 8 * KIB, addr + 12 * KIB, Change::NotPresent));
        sim.restore(cut);
    }
    let totals = |sim: &Sim, owner| sim.map.owner(owner).unwrap().totals;
    assert_eq!(kept.len(), 2);
    assert!(totals(&sim, greedy).splits <= 4 && totals(&sim, helper).splits <= 2);
    assert_eq!(sim.map.split_count(), 3, "two blocks and their GiB");
    kept.into_iter().for_each(|held| sim.restore(held));
    sim.assert_as_at_boot();
}

#[test]
fn i11_a_pin_counts_each_larger_page_that_it_reaches_into() {
    let mut sim = Sim::usual();
    let pin = sim.pin(4 * GIB + 4 * KIB, 4 * GIB + 5 * MIB, PageSize::Size4K).unwrap();
    assert_eq!(sim.map.owner(sim.owner).unwrap().totals.breaks, 4);
    sim.restore(pin);
    sim.map.set_limits(sim.owner, Limits::of_breaks(3)).unwrap();
    let refused = sim.pin(4 * GIB + 4 * KIB, 4 * GIB + 5 * MIB, PageSize::Size4K);
    assert!(matches!(refused, Err(ChangeError::OverLimit { more: 4, .. })));
    sim.assert_as_at_boot();
}

#[test]
fn i11_an_owner_with_a_rate_flushes_and_cuts_no_more_often() {
    let mut sim = Sim::usual();
    let rate = Rate { step_ns: 1_000_000, burst: 32 };
    let busy = sim.map.add_owner(name(3), Limits { breaks: 2, rate: Some(rate) }).unwrap();
    let cause = Cause::new(busy, "busy");
    let (mut time_ns, end_ns) = (0, 1_000_000_000u64);
    let (mut rounds, mut refusals) = (0u64, 0u64);
    while time_ns < end_ns {
        let at = At { cpu: CpuId::BOOT, time_ns };
        let mut batch = Batch::new();
        let page = frames(GIB, GIB + 4 * KIB);
        // SAFETY: the frames are made up.
        match unsafe { sim.map.change(page, Change::NotPresent, cause, at, &mut batch) } {
            Ok(held) => {
                sim.finish(core::mem::take(&mut batch));
                sim.map.restore(held, &mut batch);
                sim.finish(batch);
                rounds += 2;
                time_ns += 2_000;
            }
            Err(ChangeError::TooOften { owner, wait_ns }) => {
                assert_eq!(owner, name(3));
                // The level that it is told is enough, and no less is.
                let just_before = At { cpu: CpuId::BOOT, time_ns: time_ns + wait_ns - 1 };
                // SAFETY: the frames are made up.
                let early =
                    unsafe { sim.map.change(page, Change::NotPresent, cause, just_before, &mut batch) };
                assert_eq!(early.err(), Some(ChangeError::TooOften { owner, wait_ns: 1 }));
                refusals += 2;
                time_ns += wait_ns;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let counters = sim.map.counters();
    let splits = counters.level2_splits + counters.level3_splits;
    // Each change costs its round and two splits, and as much for its undoing: six steps.
    let steps = end_ns / u64::from(rate.step_ns) + u64::from(rate.burst) + 6;
    assert!(rounds + 2 * splits <= steps, "{rounds} rounds and {splits} splits in {steps} steps");
    assert!(splits > 300 && refusals > 100, "the rate is no lower than it says");
    // Others are not held up by it.
    let held = sim.change(GIB, GIB + 4 * KIB, Change::NotPresent).unwrap();
    sim.restore(held);
    sim.assert_as_at_boot();
}

/// Returns how many steps it takes to find each hold of a map.
fn depth(map: &Map, starts: &[Pfn]) -> usize {
    starts.iter().map(|&start| map.journal.tree.depth_of(&map.journal.slots, start)).max().unwrap_or(0)
}

#[test]
fn i11_no_choice_of_frames_makes_the_order_a_list() {
    // The most frames of a GiB, every second one at most, whose priorities rise with their addresses, for an owner that
    // knows how priorities are made: the longest rising subsequence.
    let chain = |seed: u64| {
        let frames: Vec<u64> = ((4 << 18)..(5 << 18)).step_by(2).collect();
        let priority = |at: usize| crate::hold_tree::keyed(seed, frames[at]);
        let (mut last_of, mut before) = (Vec::<usize>::new(), std::vec![usize::MAX; frames.len()]);
        for (at, earlier) in before.iter_mut().enumerate() {
            let length = last_of.partition_point(|&last| priority(last) < priority(at));
            *earlier = length.checked_sub(1).map_or(usize::MAX, |shorter| last_of[shorter]);
            match last_of.get_mut(length) {
                Some(last) => *last = at,
                None => last_of.push(at),
            }
        }
        let mut chain = Vec::new();
        let mut next = last_of.last().copied().unwrap_or(usize::MAX);
        while let Some(&frame) = frames.get(next) {
            chain.push(frame);
            next = before[next];
        }
        chain.reverse();
        chain
    };
    let build = |seed: u64, frames_of: &[u64]| {
        let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
        sim.source = SimSource::new(&mut sim.map.tree.memory, SimTree::ROOT.plus(0x20_0000), 600);
        sim.refill(600).unwrap();
        sim.map.journal.tree.seed = seed;
        (0..40).for_each(|_| sim.map.add_record_page(record_page()));
        let mut batch = Batch::new();
        let (cause, now) = (sim.cause(), sim.now());
        let held: Vec<Hold> = frames_of
            .iter()
            .map(|&frame| PfnRange::of_length(Pfn::new(frame), 1).unwrap())
            // SAFETY: the frames are made up.
            .map(|page| unsafe { sim.map.change(page, Change::ReadOnly, cause, now, &mut batch) }.unwrap())
            .collect();
        let depth = depth(&sim.map, &frames_of.iter().map(|&frame| Pfn::new(frame)).collect::<Vec<_>>());
        held.into_iter().for_each(|held| sim.map.restore(held, &mut batch));
        sim.finish(batch);
        sim.assert_as_at_boot();
        depth
    };
    let known = chain(7);
    assert!(known.len() > 500, "the chain is {} long", known.len());
    assert_eq!(build(7, &known), known.len(), "with a seed that is known it is a list");
    for seed in [8, 0, 1 << 40, 0xdead_beef_0bad_cafe] {
        let depth = build(seed, &known);
        assert!(depth < 60, "{depth} steps for {} holds under {seed:#x}", known.len());
    }
    assert!(depth(&Sim::usual().map, &[pfn(GIB)]) <= 1);
}

use rhumb_machine::PfnRange;

/// Whatever the largest page is, each hold counts.
#[test]
fn i11_an_owner_has_no_more_holds_than_its_limit_where_no_page_can_be_broken() {
    for largest in [PageSize::Size4K, PageSize::Size2M] {
        let mut sim = Sim::new(Levels::Four, largest);
        sim.map.set_limits(sim.owner, Limits::of_breaks(3)).unwrap();
        let hold = |sim: &mut Sim, number: u64| {
            let addr = GIB + number * largest.bytes();
            sim.change(addr, addr + largest.bytes(), Change::ReadOnly)
        };
        let held: Vec<Hold> = (0..3).map(|number| hold(&mut sim, number).unwrap()).collect();
        let refused = ChangeError::OverLimit { owner: OwnerName::of("test"), broken: 3, more: 1, limit: 3 };
        assert_eq!(hold(&mut sim, 3).err(), Some(refused));
        held.into_iter().for_each(|held| sim.restore(held));
        sim.assert_as_at_boot();
    }
}

/// Changes that are refused after many looks at entries are paid for like others, so their owner has to wait.
#[test]
fn i11_an_owner_whose_changes_fail_runs_into_debt() {
    let mut sim = Sim::new(Levels::Four, PageSize::Size4K);
    let rate = Rate { step_ns: 1_000_000, burst: 64 };
    let owner = sim.map.add_owner(name(4), Limits { breaks: 100, rate: Some(rate) }).unwrap();
    let (cause, at) = (Cause::new(owner, "fails"), At { cpu: CpuId::BOOT, time_ns: 0 });
    // The last frame is a hole.
    let range = frames(2 * GIB - 32 * MIB, 2 * GIB + 8 * MIB);
    let looks = range.frames() - 512;
    let attempts = (0..100).take_while(|_| {
        let mut batch = Batch::new();
        // SAFETY: the frames are made up.
        let changed = unsafe { sim.map.change(range, Change::ReadOnly, cause, at, &mut batch) };
        assert!(batch.is_empty());
        match changed.unwrap_err() {
            ChangeError::NotInMap { .. } => true,
            ChangeError::TooOften { .. } => false,
            error => panic!("{error}"),
        }
    });
    let attempts = attempts.count() as u64;
    assert_eq!(attempts, 64 / (looks / crate::limits::ENTRIES_OF_A_STEP) + 1);
    let pin = sim.map.pin_small(frames(GIB, 2 * GIB), PageSize::Size4K, cause, at);
    assert!(matches!(pin, Err(ChangeError::TooOften { .. }) | Err(ChangeError::BadPin { .. })));
    // It is not forgotten, and its debt with it, before that is paid.
    let Err(ChangeError::TooOften { wait_ns, .. }) = sim.map.remove_owner(owner, at) else { panic!() };
    let early = At { time_ns: wait_ns - 1, ..at };
    let refused = ChangeError::TooOften { owner: name(4), wait_ns: 1 };
    assert_eq!(sim.map.remove_owner(owner, early), Err(refused));
    assert_eq!(sim.map.remove_owner(owner, At { time_ns: wait_ns, ..at }), Ok(()));
    sim.assert_as_at_boot();
}
