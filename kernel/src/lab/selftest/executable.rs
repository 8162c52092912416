//! Code in the direct map: executed where a declared owner holds it so, never writable meanwhile, and by no CPU
//! afterwards (I4).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_directmap::{Change, ChangeError, Rule};
use rhumb_machine::{Machine, VirtAddr};
use rhumb_pagetable::Finding;

use super::direct_map::is_forbidden;
use super::fixture::{Large, Pages, State, WHO, wrong};
use super::{Test, tables};
use crate::cpu::machine::MACHINE;
use crate::cpu::{self, work};
use crate::debug::audit::audit;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::inject::tables::TableFault;
use crate::lab::{owners, probe};
use crate::mm::direct_map::{Changed, Refused, alter, change, restore};

pub const TESTS: &[Test] = &[
    Test { name: "executable::i4_only_declared_owners", run: i4_only_declared_owners },
    Test { name: "executable::i4_i6_code_runs_until_it_may_not", run: i4_i6_code_runs_until_it_may_not },
];

/// The number that the code returns.
const ANSWER: u32 = 0x5eed_c0de;
/// Its page.
const PAGE: u64 = 77;

/// `mov eax, ANSWER; ret`, in a page of `block`.
fn assemble(block: &Large) -> VirtAddr {
    let [a, b, c, d] = ANSWER.to_le_bytes();
    let address = MACHINE.direct(block.start().plus(PAGE).addr());
    // SAFETY: the block is the test's, ordinary, and no other code uses it.
    unsafe { address.as_mut_ptr::<[u8; 6]>().write_volatile([0xb8, a, b, c, d, 0xc3]) };
    address
}

/// How many CPUs may do something at an address.
#[derive(PartialEq, Eq, Debug)]
struct Able {
    execute: u64,
    write: u64,
}

/// Asks every CPU.
fn able(address: VirtAddr) -> Able {
    let (executed, written) = (AtomicU64::new(0), AtomicU64::new(0));
    work::on_every_cpu(&|| {
        // SAFETY: `assemble` has put a function there that changes EAX only.
        let answer = unsafe { probe::call(address) };
        executed.fetch_add(u64::from(answer == Ok(ANSWER)), Relaxed);
    });
    for cpu in cpu::online().iter() {
        work::on_every_cpu(&|| {
            if crate::cpu::area::cpu_now() == cpu {
                // SAFETY: one CPU after the other; the same byte goes back.
                written.fetch_add(u64::from(unsafe { probe::rewrite_byte(address) }.is_ok()), Relaxed);
            }
        });
    }
    Able { execute: executed.into_inner(), write: written.into_inner() }
}

/// No owner by default; and never writable frames.
fn i4_only_declared_owners(_: &'static Boot) -> Result<(), Failure> {
    let before = State::now()?;
    let block = Large::new()?;
    for who in [owners::AGE, owners::STRESS, owners::UNMAPPED_POOL] {
        match change(block.pages(PAGE, 1), Change::ReadOnlyExecute, who, "to be refused") {
            Ok(changed) => {
                let _ = restore(changed);
                return Err(Failure::because("any owner makes frames executable"));
            }
            Err(Refused { error, .. }) => {
                ensure!(is_forbidden(&error, Rule::ExecutableHere), "it was refused because {error}");
            }
        }
        let mut changed =
            change(block.pages(PAGE, 1), Change::ReadOnly, who, "to be executed").map_err(wrong)?;
        let refused = alter(&mut changed, Change::Execute);
        let _ = restore(changed);
        ensure!(refused.is_err_and(|error| is_forbidden(&error, Rule::ExecutableHere)), "it was not refused");
    }
    drop(block);
    before.must_be_now()
}

/// On every CPU, whatever it has cached.
fn i4_i6_code_runs_until_it_may_not(boot: &'static Boot) -> Result<(), Failure> {
    let before = State::now()?;
    let block = Large::new()?;
    let address = assemble(&block);
    let cpus = cpu::online_count() as u64;
    let must = |what: &str, execute: u64, write: u64| {
        let (found, wanted) = (able(address), Able { execute, write });
        ensure!(found == wanted, "{what}: of {cpus} CPUs {found:?}, not {wanted:?}");
        Ok(())
    };
    must("at first", 0, cpus)?;
    let mut changed = change(block.pages(PAGE, 1), Change::ReadOnlyExecute, WHO, "code that a test executes")
        .map_err(wrong)?;
    let outcome = go_through(boot, &mut changed, must);
    let _ = restore(changed);
    outcome?;
    must("restored", 0, cpus)?;
    drop(block);
    before.must_be_now()
}

fn go_through(
    boot: &'static Boot,
    changed: &mut Changed<Pages<'_>>,
    must: impl Fn(&str, u64, u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let cpus = cpu::online_count() as u64;
    must("executable", cpus, 0)?;
    let findings = audit(boot, |_| ()).findings;
    ensure!(findings == 0, "the audit finds {findings} broken rules though the code is held");
    let writable = alter(changed, Change::ReadWrite);
    ensure!(writable == Err(ChangeError::WriteExecute), "executable frames became writable: {writable:?}");
    let code = changed.range().start().addr();
    tables::sees(boot, TableFault::WritableAlias(code), |finding| {
        matches!(finding, Finding::WriteExecuteAlias { .. })
    })?;
    alter(changed, Change::NoExecute).map_err(Failure::because)?;
    must("not executable", 0, 0)?;
    alter(changed, Change::Execute).map_err(Failure::because)?;
    must("executable again", cpus, 0)?;
    // Out of the map and back it is what it was.
    for change in [Change::NotPresent, Change::Present] {
        crate::mm::direct_map::alter(changed, change).map_err(Failure::because)?;
        let able = if change == Change::Present { cpus } else { 0 };
        must("out or back", able, 0)?;
    }
    alter(changed, Change::NoExecute).map_err(Failure::because)?;
    alter(changed, Change::ReadWrite).map_err(Failure::because)?;
    ensure!(!changed.is_in_force(), "writable frames that cannot be executed are still held");
    must("writable", 0, cpus)
}
