//! Executable memory: code that all CPUs run while other code comes and goes, and never a page that is writable and
//! executable.

use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use alloc::vec::Vec;
use rhumb_code::{CodeError, CodePool, Kind, Part, Request, Write};
use rhumb_machine::{Machine, Order, VirtAddr};
use rhumb_pagetable::Finding;

use super::Test;
use super::exhaustion::{Reserves, take_all};
use super::fixture::{State, WHO};
use super::memory::{allocator, drain_all, short};
use super::tables;
use crate::cpu::machine::MACHINE;
use crate::cpu::{self, work};
use crate::debug::audit::audit;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::inject::tables::TableFault;
use crate::lab::probe;
use crate::layout::image;
use crate::mm;
use crate::mm::code::KernelHome;

pub const TESTS: &[Test] = &[
    Test { name: "code::i4_each_kind_allows_what_it_says", run: i4_each_kind_allows_what_it_says },
    Test { name: "code::i6_an_address_gets_other_code", run: i6_an_address_gets_other_code },
    Test { name: "code::others_run_on_while_code_comes_and_goes", run: others_run_on },
    Test { name: "code::many_users_cost_the_direct_map_one_page", run: many_users_cost_one_page },
    Test { name: "code::i7_i12_without_memory_code_is_written_and_freed", run: without_memory },
    Test { name: "code::bad_requests_change_nothing", run: bad_requests_change_nothing },
];

type Pool = CodePool<KernelHome>;

fn pool() -> Result<&'static Pool, Failure> {
    mm::code::pool().ok_or_else(|| Failure::because("there is no executable memory"))
}

/// `mov eax, answer; ret`.
fn function(answer: u32) -> [u8; 6] {
    let [a, b, c, d] = answer.to_le_bytes();
    [0xb8, a, b, c, d, 0xc3]
}

/// Allocates a part for the test. Where memory is short the test is skipped.
fn allocate(pool: &Pool, kind: Kind, bytes: u64) -> Result<Part, Failure> {
    pool.allocate(Request::new(kind, bytes).owner(WHO.in_frames()).named("test")).map_err(|error| match error
    {
        CodeError::NoFrames(_) | CodeError::NoRecord => short(error),
        _ => Failure::because(error),
    })
}

/// Allocates and writes a function.
fn load(pool: &Pool, answer: u32) -> Result<Part, Failure> {
    let mut part = allocate(pool, Kind::Code, 6)?;
    match pool.write(&mut [Write { part: &mut part, bytes: &function(answer) }]) {
        Ok(()) => Ok(part),
        Err(error) => {
            let _ = pool.free([part]);
            Err(Failure::because(error))
        }
    }
}

fn free<const N: usize>(pool: &Pool, parts: [Part; N]) -> Result<(), Failure> {
    pool.free(parts).map_err(|refused| Failure::because(refused.error))
}

/// Calls a function of this test's; `None` where it traps.
fn call(address: VirtAddr) -> Option<u32> {
    // SAFETY: the test has written a function that changes EAX alone, or the memory traps.
    unsafe { probe::call(address) }.ok()
}

/// Has every CPU call a function, and demands its answer of each.
fn must_answer(address: VirtAddr, answer: Option<u32>) -> Result<(), Failure> {
    let wrong = AtomicU64::new(0);
    work::on_every_cpu(&|| {
        if call(address) != answer {
            wrong.fetch_add(1, Relaxed);
        }
    });
    let wrong = wrong.into_inner();
    ensure!(wrong == 0, "{wrong} CPUs do not get {answer:x?} from the code at {address}");
    Ok(())
}

fn must_be_sound(boot: &Boot, pool: &Pool) -> Result<(), Failure> {
    pool.validate().map_err(Failure::because)?;
    let findings = audit(boot, |finding| log::error!("{finding}")).findings;
    ensure!(findings == 0, "the audit finds {findings} broken rules");
    Ok(())
}

fn i4_each_kind_allows_what_it_says(boot: &'static Boot) -> Result<(), Failure> {
    let (pool, before) = (pool()?, State::now()?);
    for kind in Kind::ALL {
        let keeper = allocate(pool, kind, 1)?;
        let outcome = allocate(pool, kind, 100).and_then(|mut part| {
            let outcome = allows_what_it_says(boot, pool, &mut part);
            let (address, freed) = (part.address(), free(pool, [part]));
            outcome.and(freed)?;
            must_answer(address, None)
        });
        let freed = free(pool, [keeper]);
        outcome.and(freed)?;
        must_be_sound(boot, pool)?;
    }
    before.must_be_now()
}

fn allows_what_it_says(boot: &'static Boot, pool: &Pool, part: &mut Part) -> Result<(), Failure> {
    let (kind, address) = (part.kind(), part.address());
    let distance = part.range().end().since(image::text().start());
    ensure!(distance < 1 << 31, "the {kind} at {address} is {distance:#x} from the kernel");
    ensure!(probe::read_byte(address) == Ok(kind.fill()), "unwritten {kind} is no fill");
    must_answer(address, None)?;
    pool.write(&mut [Write { part, bytes: &function(0xc0de) }]).map_err(Failure::because)?;
    ensure!(probe::read_byte(address) == Ok(0xb8), "{kind} at {address} is not what was written");
    must_answer(address, (kind == Kind::Code).then_some(0xc0de))?;
    for cpu in cpu::online().iter() {
        let is_written = AtomicBool::new(false);
        work::on_every_cpu(&|| {
            if crate::cpu::area::cpu_now() == cpu {
                // SAFETY: the part is the test's, and one CPU after the other writes back what is there.
                is_written.store(unsafe { probe::rewrite_byte(address) }.is_ok(), Relaxed);
            }
        });
        let is_written = is_written.into_inner();
        ensure!(is_written == (kind == Kind::Data), "CPU {cpu} writes {kind} at {address}: {is_written}");
    }
    let found = mm::code::find(address).ok_or_else(|| Failure::because("the part is not found"))?;
    ensure!(found.owner == WHO.in_frames() && found.name.as_str() == "test", "{address} is of {found:?}");
    must_be_sound(boot, pool)?;
    if kind == Kind::Code {
        let code = mm::tables::walk(address).phys().ok_or_else(|| Failure::because("code is not mapped"))?;
        tables::sees(boot, TableFault::WritableAlias(code), |finding| {
            matches!(finding, Finding::WriteExecuteAlias { .. })
        })?;
    }
    Ok(())
}

/// No CPU runs what was there before.
fn i6_an_address_gets_other_code(_: &'static Boot) -> Result<(), Failure> {
    let (pool, before) = (pool()?, State::now()?);
    let keeper = load(pool, 1)?;
    let outcome = (2..12).try_for_each(|answer| {
        let part = load(pool, answer)?;
        let address = part.address();
        let answered = must_answer(address, Some(answer));
        let freed = free(pool, [part]);
        answered.and(freed)?;
        must_answer(address, None)
    });
    let freed = free(pool, [keeper]);
    outcome.and(freed)?;
    before.must_be_now()
}

/// Rounds of coming and going.
const ROUNDS: u32 = 24;

/// All other CPUs call functions without a pause while this one adds and frees others.
fn others_run_on(boot: &'static Boot) -> Result<(), Failure> {
    let (pool, before) = (pool()?, State::now()?);
    let mut keepers = Vec::new();
    let outcome = (0..4).try_for_each(|answer| load(pool, answer).map(|part| keepers.push(part)));
    let outcome = outcome.and_then(|()| come_and_go(boot, pool, &keepers));
    let freed = keepers.into_iter().try_for_each(|part| free(pool, [part]));
    outcome.and(freed)?;
    before.must_be_now()
}

fn come_and_go(boot: &'static Boot, pool: &Pool, keepers: &[Part]) -> Result<(), Failure> {
    let (is_done, calls, wrong) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let call_all = || {
        while !is_done.load(Acquire) {
            for (answer, part) in (0..).zip(keepers) {
                calls.fetch_add(1, Relaxed);
                if call(part.address()) != Some(answer) {
                    wrong.fetch_add(1, Relaxed);
                }
            }
            cpu::call::serve_if_here();
        }
    };
    let mut outcome = Ok(());
    work::on_others(&call_all, || {
        outcome = (0..ROUNDS).try_for_each(|round| {
            let parts = [load(pool, 100 + round)?, load(pool, 200 + round)?];
            let answers = [call(parts[0].address()), call(parts[1].address())];
            let sound = must_be_sound(boot, pool);
            let freed = free(pool, parts);
            ensure!(answers == [Some(100 + round), Some(200 + round)], "round {round}: {answers:x?}");
            sound.and(freed)?;
            must_be_sound(boot, pool)
        });
        is_done.store(true, Release);
    });
    outcome?;
    let (calls, wrong) = (calls.into_inner(), wrong.into_inner());
    ensure!(wrong == 0, "{wrong} of {calls} calls went wrong");
    ensure!(calls > 0 || cpu::online_count() == 1, "no other CPU has called anything");
    Ok(())
}

/// Users of one block.
const USERS: u32 = 100;

fn many_users_cost_one_page(boot: &'static Boot) -> Result<(), Failure> {
    let (pool, before) = (pool()?, State::now()?);
    let report = pool.report();
    let costs = || {
        let of_map = mm::direct_map::with(|map| (map.hold_count(), map.split_count()));
        of_map.map_err(Failure::because)
    };
    let (holds, splits) = costs()?;
    let mut users = Vec::new();
    let outcome = (0..USERS).try_for_each(|answer| load(pool, answer).map(|part| users.push(part)));
    let outcome = outcome.and_then(|()| {
        (0..).zip(&users).try_for_each(|(answer, part)| {
            ensure!(call(part.address()) == Some(answer), "user {answer} gets another answer");
            Ok(())
        })?;
        let (now_holds, now_splits) = costs()?;
        let blocks = pool.report().blocks_out_of_direct_map() - report.blocks_out_of_direct_map();
        ensure!(
            blocks <= 2,
            "{USERS} users have {blocks} blocks out of the direct map, the spare one among them"
        );
        ensure!(now_holds - holds == blocks, "{} ranges changed for {blocks} blocks", now_holds - holds);
        // At most the 1-GiB page around each of them.
        ensure!(now_splits - splits <= blocks, "{} pages split for {blocks} blocks", now_splits - splits);
        must_be_sound(boot, pool)
    });
    let freed = users.into_iter().try_for_each(|part| free(pool, [part]));
    outcome.and(freed)?;
    must_be_sound(boot, pool)?;
    before.must_be_now()
}

/// All memory is taken: another block is refused, and what the pool has goes on to be written and freed.
fn without_memory(boot: &'static Boot) -> Result<(), Failure> {
    let (pool, frames) = (pool()?, allocator()?);
    drain_all(frames);
    let before = State::now()?;
    let keeper = load(pool, 1)?;
    let (reserves, guard) = (Reserves::lift(frames), MACHINE.pin());
    let chain = take_all(frames, guard.pinned(), 0..=Order::HUGE.get());
    let outcome = with_all_memory_taken(pool);
    let unknown = chain.free(frames, guard.pinned());
    drop((reserves, guard));
    let freed = free(pool, [keeper]);
    outcome.and(freed)?;
    ensure!(unknown == 0, "{unknown} blocks are not the allocator's");
    must_be_sound(boot, pool)?;
    before.must_be_now()
}

fn with_all_memory_taken(pool: &Pool) -> Result<(), Failure> {
    let report = pool.report();
    for kind in [Kind::RoData, Kind::Data] {
        match pool.allocate(Request::new(kind, 100)) {
            Ok(part) => {
                free(pool, [part])?;
                return Err(Failure::because(format_args!("a block of {kind} was had without memory")));
            }
            Err(CodeError::NoFrames(_) | CodeError::NoRecord) => {}
            Err(error) => return Err(Failure::because(error)),
        }
    }
    ensure!(pool.report() == report, "a refused request has changed the pool");
    for answer in 2..5 {
        let part = load(pool, answer)?;
        let (address, found) = (part.address(), call(part.address()));
        free(pool, [part])?;
        ensure!(found == Some(answer) && call(address).is_none(), "code {answer} gives {found:x?}");
    }
    Ok(())
}

fn bad_requests_change_nothing(boot: &'static Boot) -> Result<(), Failure> {
    let (pool, before) = (pool()?, State::now()?);
    let report = pool.report();
    for request in [
        Request::new(Kind::Code, 0),
        Request::new(Kind::Data, rhumb_code::BLOCK_BYTES + 1),
        Request::new(Kind::RoData, u64::MAX),
        Request::new(Kind::Code, 1).aligned(3),
    ] {
        match pool.allocate(request) {
            Ok(part) => {
                free(pool, [part])?;
                return Err(Failure::because(format_args!("{request:?} was served")));
            }
            Err(error) => log::debug!("{error}"),
        }
    }
    ensure!(pool.report() == report, "a refused request has changed the pool");
    must_be_sound(boot, pool)?;
    before.must_be_now()
}
