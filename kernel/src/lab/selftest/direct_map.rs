//! Changes of the direct map: undone to the bit, in one round, without a frame, by any CPU, and refused whole.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_directmap::{
    Broken, Change, ChangeError, Forbidden, Limits, ParseChangeError, Reserve, Rule, frames_at,
};
use rhumb_frames::FrameRange;
use rhumb_machine::{Machine, PageSize, Pfn, PhysAddr};
use rhumb_pagetable::FlushCause;
use rhumb_tableguard::Protection;

use super::Test;
use super::fixture::{Large, Pages, State, WHO, counted, wrong};
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, call, tlb, work};
use crate::debug::directmap::shape;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::probe;
use crate::lab::sizes::frames_from;
use crate::layout::image;
use crate::mm::direct_map::{Changed, Refused, alter, change, pin_small, restore, table_supply};
use crate::mm::{direct_map, protection, tables};
use crate::{cpu, mm};

pub const TESTS: &[Test] = &[
    Test { name: "direct_map::is_what_boot_planned", run: is_what_boot_planned },
    Test { name: "direct_map::i3_a_round_trip_is_bit_identical", run: i3_a_round_trip_is_bit_identical },
    Test {
        name: "direct_map::i5_i6_no_cpu_reaches_a_removed_page",
        run: i5_i6_no_cpu_reaches_a_removed_page,
    },
    Test { name: "direct_map::i6_one_round_each_and_no_frame", run: i6_one_round_each_and_no_frame },
    Test { name: "direct_map::i7_what_is_refused_changes_nothing", run: i7_what_is_refused_changes_nothing },
    Test { name: "direct_map::i8_all_cpus_with_interrupts_off", run: i8_all_cpus_with_interrupts_off },
    Test { name: "direct_map::i9_a_split_has_a_name", run: i9_a_split_has_a_name },
    Test { name: "direct_map::i11_a_limit_holds", run: i11_a_limit_holds },
    Test {
        name: "direct_map::i12_tables_go_back_when_memory_is_short",
        run: i12_tables_go_back_when_memory_is_short,
    },
    Test {
        name: "direct_map::i13_a_change_takes_the_lock_twice_at_most",
        run: i13_a_change_takes_the_lock_twice_at_most,
    },
];

/// Unless something is held: then it need not be.
fn is_what_boot_planned(boot: &'static Boot) -> Result<(), Failure> {
    direct_map::validate().map_err(Failure::because)?;
    let held = direct_map::with(|map| map.hold_count()).map_err(Failure::because)?;
    let (planned, found) = (shape::of_plan(boot).map_err(Failure::because)?, shape::of_tables());
    ensure!(held > 0 || planned == found, "boot planned {planned}, the tables hold {found}");
    Ok(())
}

/// Every way there and back, of a page, of some, of a whole block.
fn i3_a_round_trip_is_bit_identical(boot: &'static Boot) -> Result<(), Failure> {
    let before = State::now()?;
    let block = Large::new()?;
    for (first, count) in [(0, 1), (511, 1), (3, 200), (0, 512), (1, 511)] {
        let _ =
            restore(change(block.pages(first, count), Change::ReadOnly, WHO, "a round trip").map_err(wrong)?);
        let _ = restore(
            change(block.pages(first, count), Change::NotPresent, WHO, "a round trip").map_err(wrong)?,
        );
        // Out, back, read-only, writable: ordinary again without a restore.
        let mut changed =
            change(block.pages(first, count), Change::NotPresent, WHO, "a round trip").map_err(wrong)?;
        let outcome = alter(&mut changed, Change::Present);
        let is_in_force = changed.is_in_force();
        let _ = restore(changed);
        outcome.map_err(Failure::because)?;
        ensure!(!is_in_force, "pages that are back in the map are still held");
        let mut changed =
            change(block.pages(first, count), Change::ReadOnly, WHO, "a round trip").map_err(wrong)?;
        let outcome = alter(&mut changed, Change::NotPresent)
            .and_then(|()| alter(&mut changed, Change::Present))
            .and_then(|()| alter(&mut changed, Change::ReadWrite));
        let _ = restore(changed);
        outcome.map_err(Failure::because)?;
    }
    // Two holds in one block, given back in either order.
    for last_first in [1, 0] {
        let mut both: [Option<Changed<Pages<'_>>>; 2] = [None, None];
        let mut outcome = Ok(());
        for (index, place) in both.iter_mut().enumerate() {
            let pages = block.pages(index as u64 * 300, 7);
            match change(pages, Change::ReadOnly, WHO, "two holds") {
                Ok(changed) => *place = Some(changed),
                Err(refused) => outcome = Err(wrong(refused)),
            }
        }
        if let Some(changed) = both[last_first].take() {
            let _ = restore(changed);
        }
        let is_valid = direct_map::validate().map_err(Failure::because);
        both.into_iter().flatten().for_each(|changed| {
            let _ = restore(changed);
        });
        outcome.and(is_valid)?;
    }
    if boot.largest_page > PageSize::Size4K {
        let _ = restore(pin_small(block.pages(0, 512), PageSize::Size4K, WHO, "kept small").map_err(wrong)?);
    }
    drop(block);
    before.must_be_now()
}

/// CPUs that use a page all the time fault on it as soon as the change has returned, and only then.
fn i5_i6_no_cpu_reaches_a_removed_page(_: &'static Boot) -> Result<(), Failure> {
    const TURNS: u64 = 24;
    static STAGE: AtomicU64 = AtomicU64::new(0);
    static READY: AtomicU64 = AtomicU64::new(0);
    let before = State::now()?;
    let block = Large::new()?;
    let page = |turn: u64| block.start().plus(turn * 37 % 512);
    let others = cpu::online().without(area::cpu_now()).len() as u64;
    STAGE.store(0, Relaxed);
    READY.store(0, Release);
    let missed = AtomicU64::new(0);
    let wait_for = |stage: u64| {
        while STAGE.load(Acquire) < stage {
            core::hint::spin_loop();
        }
    };
    let mut outcome = Ok(());
    work::on_others(
        &|| {
            for turn in 0..TURNS {
                let address = MACHINE.direct(page(turn).addr());
                // Uses the page, so that its translation is cached.
                let readable = probe::read_byte(address).is_ok();
                READY.fetch_add(1, Release);
                wait_for(2 * turn + 1);
                let gone = if turn % 2 == 0 {
                    probe::read_byte(address).is_err()
                } else {
                    // SAFETY: no CPU writes the block meanwhile.
                    probe::read_byte(address).is_ok() && unsafe { probe::rewrite_byte(address) }.is_err()
                };
                missed.fetch_add(u64::from(!readable || !gone), Relaxed);
                READY.fetch_add(1, Release);
                wait_for(2 * turn + 2);
            }
        },
        || {
            let wait_ready = |count: u64| {
                while READY.load(Acquire) < count * others {
                    call::serve_if_here();
                    core::hint::spin_loop();
                }
            };
            for turn in 0..TURNS {
                wait_ready(2 * turn + 1);
                let pages = block.pages(page(turn).since(block.start()), 1);
                let wanted = if turn % 2 == 0 { Change::NotPresent } else { Change::ReadOnly };
                let changed = change(pages, wanted, WHO, "a page that others use");
                STAGE.store(2 * turn + 1, Release);
                wait_ready(2 * turn + 2);
                match changed {
                    Ok(changed) => drop(restore(changed)),
                    Err(refused) => outcome = Err(wrong(refused)),
                }
                STAGE.store(2 * turn + 2, Release);
            }
        },
    );
    outcome?;
    let missed = missed.load(Relaxed);
    ensure!(missed == 0, "{missed} accesses did not end as the map says");
    drop(block);
    before.must_be_now()
}

/// CPUs that run are interrupted once for a split, not at all for its undoing, and no frame is allocated on the way.
fn i6_one_round_each_and_no_frame(boot: &'static Boot) -> Result<(), Failure> {
    static GO_ON: AtomicU64 = AtomicU64::new(0);
    let allocator = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    let before = State::now()?;
    let block = Large::new()?;
    let others = cpu::online().without(area::cpu_now()).len() as u64;
    // [rounds, interrupts, frames, tables and records, kept ones included] before, between and after.
    let mut seen = [([0; 3], Reserve::default()); 3];
    let mut outcome = Err(Failure::because("the change was not made"));
    GO_ON.store(0, Release);
    let look = || {
        let causes = [FlushCause::Split, FlushCause::Collapse, FlushCause::Remove, FlushCause::Restore];
        let interrupts = causes.iter().map(|&cause| tlb::COUNTERS.read(cause).interrupts).sum();
        let rounds = counted(|counters| &counters.flushes_remote);
        let kept = direct_map::with(|map| map.kept_tables()).unwrap_or_default();
        let Reserve { tables, records } = table_supply::reserve::now();
        // A table that is kept has its record.
        let reserve = Reserve { tables: tables + kept, records: records + kept };
        ([rounds, interrupts, allocator.free_frames()], reserve)
    };
    work::on_others(
        &|| {
            GO_ON.fetch_add(1, Release);
            while GO_ON.load(Acquire) <= others {
                core::hint::spin_loop();
            }
        },
        || {
            while GO_ON.load(Acquire) < others {
                call::serve_if_here();
            }
            // With interrupts off the reserve is not filled up, so what is missing from it was taken by the change.
            let irq_off = MACHINE.irq_off();
            seen[0] = look();
            outcome = change(block.pages(5, 1), Change::NotPresent, WHO, "one round").map_err(wrong).map(
                |changed| {
                    seen[1] = look();
                    let _ = restore(changed);
                    seen[2] = look();
                },
            );
            drop(irq_off);
            GO_ON.store(others + 1, Release);
        },
    );
    outcome?;
    let merges = boot.largest_page > PageSize::Size4K;
    // A page that comes back was in no CPU's cache, and a merge says what was said before.
    for (what, [from, to], others) in [("split", [0, 1], others), ("restore", [1, 2], 0)] {
        let rounds = u64::from(others > 0);
        let took = |index: usize| seen[to].0[index] - seen[from].0[index];
        ensure!(took(0) == rounds, "the {what} took {} rounds of interrupts, not {rounds}", took(0));
        ensure!(took(1) == others, "the {what} interrupted {} CPUs of {others}", took(1));
        ensure!(seen[to].0[2] == seen[from].0[2], "the {what} allocated or freed frames");
    }
    let [start, split, end] = seen.map(|(_, reserve)| reserve);
    if merges {
        let used = start.tables - split.tables;
        ensure!((1..=2).contains(&used), "the split took {used} tables");
    }
    ensure!(start == end, "the reserve was {start:?}, and is {end:?}");
    table_supply::fill();
    drop(block);
    before.must_be_now()
}

/// The reclaimer frees all tables past the level of the reserve, kept ones included, and says how many frames that was.
fn i12_tables_go_back_when_memory_is_short(_: &'static Boot) -> Result<(), Failure> {
    let allocator = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    let before = State::now()?;
    let block = Large::new()?;
    table_supply::fill();
    while table_supply::give_back() > 0 {}
    let supply =
        || direct_map::with(|map| (map.reserve().tables, map.kept_tables())).map_err(Failure::because);
    let at_rest = supply()?;
    ensure!(table_supply::give_back() == 0 && supply()? == at_rest, "there was more to give back");
    let changed = change(block.pages(3, 1), Change::NotPresent, WHO, "a table to be kept").map_err(wrong)?;
    let _ = restore(changed);
    // The change has filled up the reserve; the table of the merge is one too many.
    table_supply::fill();
    let (tables, kept) = supply()?;
    let level = table_supply::reserve::level().tables;
    let free = allocator.free_frames();
    let freed = table_supply::give_back();
    let (now, still_kept) = supply()?;
    let found = allocator.free_frames() - free;
    drop(block);
    ensure!(tables + kept <= level || now == level, "{now} tables are left, past the level of {level}");
    ensure!(tables + kept <= level || still_kept == 0, "{still_kept} tables are kept still");
    let in_blocks = protection::in_force() != Protection::Off;
    ensure!(
        in_blocks || freed == (tables + kept).saturating_sub(level),
        "{freed} frames are said to be free"
    );
    ensure!(found == freed, "{found} frames are free, and {freed} are said to be");
    before.must_be_now()
}

/// Once to change, and once more to fill up the reserve where the change has taken from it. A block that is split again
/// and again takes from no reserve.
fn i13_a_change_takes_the_lock_twice_at_most(_: &'static Boot) -> Result<(), Failure> {
    let before = State::now()?;
    let block = Large::new()?;
    table_supply::renew();
    let in_blocks = protection::in_force() != Protection::Off;
    for turn in 0..4 {
        let start = tables::times_locked();
        let changed = change(block.pages(9, 1), Change::NotPresent, WHO, "counted locks").map_err(wrong)?;
        let split = tables::times_locked();
        let _ = restore(changed);
        let end = tables::times_locked();
        let (change, restore) = (split - start, end - split);
        // Protected tables come from behind the same lock: so the first change, which takes some, is another case.
        let most = if turn == 0 { 2 } else { 1 };
        ensure!(change <= most || turn == 0 && in_blocks, "change {turn} took the lock {change} times");
        ensure!(restore == 1, "restore {turn} took the lock {restore} times");
    }
    drop(block);
    before.must_be_now()
}

/// Every rule, and what breaks it.
fn i7_what_is_refused_changes_nothing(boot: &'static Boot) -> Result<(), Failure> {
    let before = State::now()?;
    let block = Large::new()?;
    let removed = change(block.pages(9, 2), Change::NotPresent, WHO, "removed once").map_err(wrong)?;
    // Whatever is found, the pages come back before their block is freed.
    let outcome = refusals(boot, block.start());
    let _ = restore(removed);
    outcome?;
    drop(block);
    before.must_be_now()
}

/// Asks for what must be refused, with two pages from the tenth of the block at `start` on out of the map.
fn refusals(boot: &'static Boot, start: Pfn) -> Result<(), Failure> {
    let within = State::now()?;
    let writes = counted(|counters| &counters.page_table_writes);

    let ram_end = boot.memory.lock().ram_end();
    let text = image::physical(image::text()).start().pfn();
    let root = tables::root().table;
    type Expected = fn(&ChangeError) -> bool;
    let cases: [(&str, Pfn, u64, Change, Expected); 10] = [
        ("the image", text, 1, Change::ReadOnly, |error| is_forbidden(error, Rule::KernelImage)),
        ("a range into the image", Pfn::new(text.get() - 3), 4, Change::NotPresent, |error| {
            is_forbidden(error, Rule::KernelImage)
        }),
        ("the root table", root, 1, Change::NotPresent, |error| {
            // Protected tables are held by the part of the kernel that protects them.
            is_forbidden(error, Rule::PageTables)
                || protection::in_force() != Protection::Off && matches!(error, ChangeError::Held { .. })
        }),
        ("past RAM", ram_end.pfn(), 1, Change::ReadOnly, |error| {
            matches!(error, ChangeError::NotInMap { .. })
        }),
        ("past the address range", Pfn::new(1 << 51), 1, Change::ReadOnly, |error| {
            matches!(error, ChangeError::NotInMap { .. })
        }),
        ("nothing", start, 0, Change::ReadOnly, |error| matches!(error, ChangeError::Empty)),
        ("code in writable data", start, 1, Change::Execute, |error| {
            matches!(error, ChangeError::WriteExecute)
        }),
        ("code in the image", text, 1, Change::ReadOnlyExecute, |error| {
            is_forbidden(error, Rule::KernelImage)
        }),
        ("a second removal", start.plus(10), 1, Change::NotPresent, |error| {
            matches!(error, ChangeError::AlreadyRemoved { .. })
        }),
        ("what another holds", start.plus(8), 2, Change::ReadOnly, |error| {
            matches!(error, ChangeError::Held { .. })
        }),
    ];
    for (what, first, count, wanted, expected) in cases {
        let range = frames_from(first, count);
        // SAFETY: the handle only asks; it is given up at once.
        let frames = unsafe { FrameRange::assume(range) };
        match change(frames, wanted, WHO, "to be refused") {
            Ok(changed) => {
                let _ = restore(changed).into_frames();
                return Err(Failure::because(format_args!("{what}: {wanted} was not refused")));
            }
            Err(Refused { frames, error }) => {
                let _ = frames.into_frames();
                ensure!(expected(&error), "{what}: {wanted} was refused because {error}");
            }
        }
    }
    ensure!(
        frames_at(PhysAddr::new(0x1001), 4096)
            .is_err_and(|error| matches!(error, ChangeError::Unaligned { .. })),
        "an unaligned range was not refused"
    );
    ensure!(
        frames_at(PhysAddr::new(!0xfff), 8192).is_err_and(|error| matches!(error, ChangeError::Wraps { .. })),
        "a range that wraps was not refused"
    );
    ensure!("rwx".parse::<Change>() == Err(ParseChangeError::WriteExecute), "W+X was not refused");

    let written = counted(|counters| &counters.page_table_writes) - writes;
    ensure!(written == 0, "refused changes wrote {written} entries");
    within.must_be_now()
}

pub(super) fn is_forbidden(error: &ChangeError, wanted: Rule) -> bool {
    matches!(error, ChangeError::Forbidden(Forbidden { rule, .. }) if *rule == wanted)
}

/// All CPUs at once, with interrupts off: a CPU that waits serves.
fn i8_all_cpus_with_interrupts_off(_: &'static Boot) -> Result<(), Failure> {
    let before = State::now()?;
    let block = Large::new()?;
    let refused = AtomicU64::new(0);
    work::on_every_cpu(&|| {
        let me = area::cpu_now().index() as u64;
        for round in 0..16u64 {
            let irq_off = MACHINE.irq_off();
            // CPUs past the 128th share pages with others; a page that is held is refused then.
            match change(
                block.pages((me * 4 + round % 3) % 512, 1),
                Change::ReadOnly,
                WHO,
                "interrupts are off",
            ) {
                Ok(changed) => drop(restore(changed)),
                Err(_) => {
                    refused.fetch_add(u64::from(me < 128), Relaxed);
                }
            }
            drop(irq_off);
        }
    });
    table_supply::fill();
    let refused = refused.load(Relaxed);
    ensure!(refused == 0, "{refused} changes were refused");
    drop(block);
    before.must_be_now()
}

/// Owner, reason, place and time of a split, as long as it lasts, and no longer.
fn i9_a_split_has_a_name(boot: &'static Boot) -> Result<(), Failure> {
    let before = State::now()?;
    let block = Large::new()?;
    let line = line!() + 1;
    let changed = change(block.pages(17, 1), Change::ReadOnly, WHO, "to be found").map_err(wrong)?;
    // A page beside the one that is held.
    let why = direct_map::with(|map| map.why(block.start().plus(18))).map_err(Failure::because);
    let _ = restore(changed);
    let why = why?;
    if boot.largest_page > PageSize::Size4K {
        let Some(Broken::By { hold: breaks, others: 0 }) = why.broken_2m else {
            return Err(Failure::because(format_args!("the page is said to be split so: {why}")));
        };
        ensure!(breaks.owner.name == "selftest", "{} is said to have split it", breaks.owner);
        ensure!(breaks.reason == "to be found", "the reason is said to be {}", breaks.reason);
        let site = breaks.call_site;
        ensure!(
            site.file().ends_with("direct_map.rs") && site.line() == line,
            "the place is said to be {}:{}, not line {line}",
            site.file(),
            site.line()
        );
        ensure!(breaks.at.cpu == area::cpu_now(), "CPU {} is said to have done it", breaks.at.cpu);
    }
    drop(block);
    before.must_be_now()
}

/// At its limit an owner gets nothing that breaks a large page.
fn i11_a_limit_holds(boot: &'static Boot) -> Result<(), Failure> {
    if boot.largest_page == PageSize::Size4K {
        return Ok(());
    }
    let owner = WHO.in_map().ok_or_else(|| Failure::because("the map cannot be changed"))?;
    let before = State::now()?;
    let (block, other) = (Large::new()?, Large::new()?);
    let first = change(block.pages(17, 1), Change::ReadOnly, WHO, "the limit").map_err(wrong)?;
    let set_limits = |limits| {
        let set = direct_map::with(|map| map.set_limits(owner, limits)).map_err(Failure::because)?;
        set.map_err(Failure::because)
    };
    let breaks = direct_map::with(|map| map.owner(owner).map_or(0, |owner| owner.totals.breaks));
    let limited = breaks.map_err(Failure::because).and_then(|breaks| set_limits(Limits::of_breaks(breaks)));
    let same_block = change(block.pages(30, 1), Change::ReadOnly, WHO, "in a split block");
    let next_block = change(other.pages(30, 1), Change::ReadOnly, WHO, "in a whole block");
    let lifted = set_limits(Limits::NONE);
    // The changed frames go back before anything is said of them: the blocks are freed where this returns.
    let undo = |result: Result<Changed<Pages<'_>>, Refused<Pages<'_>>>| match result {
        Ok(changed) => {
            let _ = restore(changed);
            None
        }
        Err(refused) => Some(refused.error),
    };
    let (same_block, next_block) = (undo(same_block), undo(next_block));
    let _ = restore(first);
    limited.and(lifted)?;
    // Whether the block's page is split already makes no difference, because another owner may have split it.
    for refusal in [same_block, next_block] {
        match refusal {
            None => return Err(Failure::because("an owner broke more than its limit")),
            Some(error) => ensure!(
                matches!(error, ChangeError::OverLimit { .. }),
                "the change was refused because {error}"
            ),
        }
    }
    drop((block, other));
    before.must_be_now()
}
