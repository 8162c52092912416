//! The kernel's copies from and to the memory of programs: what they copy, where they end, and that nothing else of the
//! kernel can touch that memory.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{Machine, PageSize, VirtAddr};
use rhumb_pagetable::Access;
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::rflags::{self, RFlags};

use super::Test;
use crate::arch::fixup;
use crate::cpu::machine::MACHINE;
use crate::cpu::user::{UserError, copy_from_user, copy_to_user, string_length};
use crate::cpu::{self, call, work};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::probe;
use crate::lab::user_pages::UserPages;
use crate::layout;

pub const TESTS: &[Test] = &[
    Test { name: "user_access::fixups_are_sorted", run: fixups_are_sorted },
    Test { name: "user_access::copies_both_ways", run: copies_both_ways },
    Test { name: "user_access::a_copy_ends_where_nothing_is", run: a_copy_ends_where_nothing_is },
    Test { name: "user_access::read_only_memory_stays", run: read_only_memory_stays },
    Test { name: "user_access::no_other_half", run: no_other_half },
    Test { name: "user_access::up_to_the_end_of_the_half", run: up_to_the_end_of_the_half },
    Test { name: "user_access::strings", run: strings },
    Test { name: "user_access::all_cpus_at_once", run: all_cpus_at_once },
    Test { name: "user_access::in_an_interrupt", run: in_an_interrupt },
    Test { name: "user_access::nothing_else_touches_it", run: nothing_else_touches_it },
];

const PAGE: u64 = PageSize::Size4K.bytes();
const AT: VirtAddr = VirtAddr::new(0x4000_0000);
/// Bytes of a copy that begins before a page's end and goes on behind it.
const ACROSS: usize = 200;
const BEFORE: u64 = 77;
/// Rounds of each CPU.
const ROUNDS: u64 = 100;

fn fixups_are_sorted(_: &'static Boot) -> Result<(), Failure> {
    ensure!(fixup::is_sorted(), "the table of instructions that may fault is empty or out of order");
    Ok(())
}

fn pattern(seed: u8) -> [u8; ACROSS] {
    core::array::from_fn(|index| seed.wrapping_add(index as u8).max(1))
}

/// Two pages, of which the second may be read-only, and nothing behind.
fn two(second: Access) -> Result<UserPages, Failure> {
    UserPages::map(AT, &[Access::ReadWrite, second])
}

fn wrong(what: &'static str) -> impl Fn(UserError) -> Failure {
    move |error| Failure::because(format_args!("{what}: {error}"))
}

fn copies_both_ways(_: &'static Boot) -> Result<(), Failure> {
    let pages = two(Access::ReadWrite)?;
    let at = pages.range().start().plus(PAGE - BEFORE);
    let (sent, mut got) = (pattern(3), [0; ACROSS]);
    copy_to_user(at, &sent).map_err(wrong("to the user"))?;
    copy_from_user(&mut got, at).map_err(wrong("from the user"))?;
    ensure!(got == sent, "other bytes came back");
    let direct = pages.direct(1).ok_or_else(|| Failure::because("there is no second page"))?;
    ensure!(
        probe::read_byte(direct) == Ok(sent[BEFORE as usize]),
        "the second page does not have the rest of what was sent"
    );
    // Nothing is no error, wherever it is not.
    copy_from_user(&mut [], pages.range().end()).map_err(wrong("no bytes"))?;
    Ok(())
}

/// The bytes before it come, and no other byte of the buffer changes.
fn a_copy_ends_where_nothing_is(_: &'static Boot) -> Result<(), Failure> {
    let pages = two(Access::ReadWrite)?;
    let sent = pattern(9);
    let at = VirtAddr::new(pages.range().end().get() - BEFORE);
    let mapped = BEFORE as usize;
    match copy_to_user(at, &sent) {
        Err(UserError::Faulted { copied }) if copied <= mapped => {}
        other => return Err(Failure::because(format_args!("a copy past the end: {other:?}"))),
    }
    copy_to_user(at, &sent[..mapped]).map_err(wrong("up to the end"))?;
    let mut got = [0; ACROSS];
    match copy_from_user(&mut got, at) {
        Err(UserError::Faulted { copied }) if copied <= mapped && got[..copied] == sent[..copied] => {
            ensure!(got[mapped..].iter().all(|&byte| byte == 0), "bytes came from where nothing is");
        }
        other => return Err(Failure::because(format_args!("a copy past the end: {other:?}"))),
    }
    let start = pages.range().start();
    drop(pages);
    for at in [start, VirtAddr::ZERO, VirtAddr::new(PAGE), VirtAddr::new(0x7fff_0000_0000)] {
        let outcome = copy_from_user(&mut got, at);
        ensure!(outcome == Err(UserError::Faulted { copied: 0 }), "an absent page at {at}: {outcome:?}");
        let outcome = copy_to_user(at, &sent);
        ensure!(outcome == Err(UserError::Faulted { copied: 0 }), "an absent page at {at}: {outcome:?}");
    }
    Ok(())
}

fn read_only_memory_stays(_: &'static Boot) -> Result<(), Failure> {
    let pages = two(Access::ReadOnly)?;
    let second = pages.range().start().plus(PAGE);
    let outcome = copy_to_user(second, &pattern(1));
    ensure!(outcome == Err(UserError::Faulted { copied: 0 }), "a write to a read-only page: {outcome:?}");
    let across = copy_to_user(VirtAddr::new(second.get() - BEFORE), &pattern(1));
    ensure!(matches!(across, Err(UserError::Faulted { copied }) if copied <= BEFORE as usize), "{across:?}");
    let mut got = [1; ACROSS];
    copy_from_user(&mut got, second).map_err(wrong("a read of a read-only page"))?;
    ensure!(got == [0; ACROSS], "a read-only page was written");
    Ok(())
}

/// The kernel's own addresses, those that no page can have, and ranges that end there.
fn no_other_half(_: &'static Boot) -> Result<(), Failure> {
    static KERNEL: u64 = 0;
    let end = layout::user().end();
    let mut got = [0; ACROSS];
    for at in [
        VirtAddr::from(&raw const KERNEL),
        layout::direct_map().start(),
        end,
        end.plus(PAGE),
        VirtAddr::new(end.get() - 1),
        VirtAddr::new(1 << 63),
        VirtAddr::new(u64::MAX - 7),
        VirtAddr::new(u64::MAX),
    ] {
        let outcomes = [copy_from_user(&mut got, at), copy_to_user(at, &pattern(5))];
        ensure!(outcomes == [Err(UserError::NotUser); 2], "{at} is taken for a program's: {outcomes:?}");
    }
    Ok(())
}

/// The last page of the half: behind it are addresses that no page can have.
fn up_to_the_end_of_the_half(_: &'static Boot) -> Result<(), Failure> {
    let last = VirtAddr::new(layout::user().end().get() - PAGE);
    let pages = UserPages::map(last, &[Access::ReadWrite])?;
    let at = VirtAddr::new(pages.range().end().get() - ACROSS as u64);
    let mut got = [0; ACROSS];
    copy_to_user(at, &pattern(8)).map_err(wrong("the last bytes"))?;
    copy_from_user(&mut got, at).map_err(wrong("the last bytes"))?;
    ensure!(got == pattern(8), "other bytes came back");
    let outcome = copy_from_user(&mut got, at.plus(1));
    ensure!(outcome == Err(UserError::NotUser), "a byte too many: {outcome:?}");
    let outcome = string_length(at, usize::MAX);
    ensure!(
        outcome == Err(UserError::Faulted { copied: ACROSS }),
        "a string that does not end in the half: {outcome:?}"
    );
    Ok(())
}

fn strings(_: &'static Boot) -> Result<(), Failure> {
    let pages = two(Access::ReadWrite)?;
    let at = pages.range().start().plus(PAGE - BEFORE);
    copy_to_user(at, &pattern(3)).map_err(wrong("to the user"))?;
    for (at, most, expected) in [
        (at, 4096, Ok(ACROSS)),
        (at, ACROSS, Ok(ACROSS)),
        (at, 10, Ok(10)),
        (at, 0, Ok(0)),
        (pages.range().start(), 4096, Ok(0)),
        (pages.range().end(), 4096, Err(UserError::Faulted { copied: 0 })),
        (layout::user().end(), 4096, Err(UserError::NotUser)),
        (VirtAddr::new(u64::MAX), 1, Err(UserError::NotUser)),
    ] {
        let found = string_length(at, most);
        ensure!(found == expected, "a string at {at}, {most} bytes at most: {found:?}");
    }
    let tail = VirtAddr::new(pages.range().end().get() - ACROSS as u64);
    copy_to_user(tail, &pattern(3)).map_err(wrong("to the user"))?;
    let found = string_length(tail, 4096);
    ensure!(found == Err(UserError::Faulted { copied: ACROSS }), "a string without an end: {found:?}");
    Ok(())
}

/// Copies a pattern of the calling CPU's, and returns whether each copy did what it must.
fn churn(pages: &UserPages, seed: u8) -> bool {
    // A CPU has bytes of its own; 16 CPUs fit.
    let own = pages.range().start().plus(u64::from(seed % 16) * 256);
    let absent = pages.range().end();
    let (sent, mut got) = (pattern(seed), [0; ACROSS]);
    let faulted = Err(UserError::Faulted { copied: 0 });
    copy_to_user(own, &sent).is_ok()
        && copy_from_user(&mut got, absent) == faulted
        && copy_from_user(&mut got, own).is_ok()
        && (got == sent || seed >= 16)
        && copy_to_user(absent, &sent) == faulted
        && probe::read_byte(absent).is_err()
        && !is_open()
}

/// Returns whether user memory is open to this CPU now.
fn is_open() -> bool {
    rflags::read().contains(RFlags::ALIGNMENT_CHECK)
}

fn all_cpus_at_once(_: &'static Boot) -> Result<(), Failure> {
    let pages = two(Access::ReadWrite)?;
    let wrong = AtomicU64::new(0);
    work::on_every_cpu(&|| {
        let seed = cpu::area::cpu_now().index().min(255) as u8;
        let right = (0..ROUNDS).filter(|_| churn(&pages, seed)).count() as u64;
        wrong.fetch_add(ROUNDS - right, Relaxed);
    });
    let wrong = wrong.into_inner();
    ensure!(wrong == 0, "{wrong} rounds of copies and faults did not do what they must");
    Ok(())
}

/// A cross-call copies and faults, in the middle of copies and faults of the CPU that it interrupts.
fn in_an_interrupt(_: &'static Boot) -> Result<(), Failure> {
    let pages = two(Access::ReadWrite)?;
    let wrong = AtomicU64::new(0);
    let check = |is_right: bool| _ = wrong.fetch_add(u64::from(!is_right), Relaxed);
    let me = cpu::area::cpu_now();
    let done = AtomicU64::new(0);
    let others = cpu::online().without(me);
    work::on_others(
        &|| {
            let seed = cpu::area::cpu_now().index().min(255) as u8;
            (0..ROUNDS).for_each(|_| check(churn(&pages, seed)));
            done.fetch_add(1, Relaxed);
        },
        || {
            while (done.load(Relaxed) as usize) < others.len() {
                let guard = MACHINE.pin();
                let served =
                    || check(!is_open() && copy_from_user(&mut [0; 8], pages.range().end()).is_err());
                call::run_on(guard.pinned(), &others, &served, served);
            }
        },
    );
    let wrong = wrong.into_inner();
    ensure!(wrong == 0, "{wrong} copies did not do what they must");
    Ok(())
}

/// Where the CPU has SMAP, an access of the kernel that is no copy faults.
fn nothing_else_touches_it(_: &'static Boot) -> Result<(), Failure> {
    let pages = two(Access::ReadWrite)?;
    let has_smap = Cr4::read().contains(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION);
    for at in [pages.range().start(), pages.range().start().plus(PAGE)] {
        copy_to_user(at, &[7]).map_err(wrong("to the user"))?;
        let read = probe::read_byte(at).is_ok();
        ensure!(read != has_smap, "SMAP is {has_smap}, and a plain read of {at} went through: {read}");
    }
    Ok(())
}
