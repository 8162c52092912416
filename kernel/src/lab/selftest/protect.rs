//! Protected page tables: a stray write faults on every CPU, the writer of tables is not hindered, and blocks come and
//! go whole.
//!
//! Where tables are not protected there is nothing to see: the tests pass.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_directmap::Change;
use rhumb_frames::Request;
use rhumb_machine::{Machine, Pfn, PfnRange, VirtAddr};
use rhumb_pagetable::TableMemory;
use rhumb_tableguard::{Protection, Rights, TABLES_PER_BLOCK, keyed};

use super::{Test, memory};
use crate::arch::pkrs::{self, Pkrs};
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, work};
use crate::debug::directmap::shape;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::inject::tables::TableFault;
use crate::lab::sizes::frames_from;
use crate::lab::{inject, owners, probe};
use crate::mm::direct_map::table_supply::stock::Stock;
use crate::mm::direct_map::{HeldFrames, Refused, change, restore, table_supply};
use crate::mm::protect::audit::{self, Flaw};
use crate::mm::protection::{self, in_force};
use crate::mm::{direct_map, tables};
use crate::{cpu, layout, mm};

pub const TESTS: &[Test] = &[
    Test { name: "protect::i8_a_stray_write_to_a_table_faults", run: a_stray_write_faults },
    Test { name: "protect::a_handler_finds_the_key_closed", run: a_handler_finds_the_key_closed },
    Test { name: "protect::audit_sees_a_writable_table", run: audit_sees_a_writable_table },
    Test { name: "protect::audit_sees_an_open_key", run: audit_sees_an_open_key },
    Test { name: "protect::i5_blocks_come_and_go_whole", run: blocks_come_and_go_whole },
    Test { name: "protect::i9_blocks_have_a_name", run: blocks_have_a_name },
];

/// A frame of a block that the test holds.
struct Part(PfnRange);

// SAFETY: the test holds the block meanwhile.
unsafe impl HeldFrames for Part {
    fn range(&self) -> PfnRange {
        self.0
    }
}

/// The address of an absent page, to fault at.
const NOWHERE: VirtAddr = VirtAddr::new(0x1000);

/// Every table on the way to each kind of place, the tables of all windows, a table that split a page a moment ago, a
/// spare one: no CPU can write any of them, and all can read them.
fn a_stray_write_faults(_: &'static Boot) -> Result<(), Failure> {
    if in_force() == Protection::Off {
        return Ok(());
    }
    let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    let block = {
        let guard = MACHINE.pin();
        memory::take(frames, guard.pinned(), Request::LARGE)?
    };
    let page = block.pfn().plus(77);
    let part = Part(frames_from(page, 1));
    let outcome = match change(part, Change::NotPresent, owners::SELF_TEST, "to have a new table") {
        Ok(changed) => {
            let outcome = check_all(page);
            let _ = restore(changed);
            outcome
        }
        Err(Refused { error, .. }) => Err(Failure::because(error)),
    };
    let guard = MACHINE.pin();
    frames.free(guard.pinned(), block);
    outcome
}

fn check_all(page: Pfn) -> Result<(), Failure> {
    let spare = Stock::fetch(1);
    let outcome = (|| {
        let online = cpu::online();
        let windows = online.iter().map(|cpu| layout::windows(cpu).start());
        let places =
            [MACHINE.direct(page.addr()), layout::image::text().start(), layout::DESCRIPTORS, layout::AREAS];
        for place in places.into_iter().chain(windows) {
            for step in tables::walk(place).steps() {
                check(step.table)?;
            }
        }
        spare.iter().try_for_each(check)
    })();
    spare.release();
    outcome
}

fn check(table: Pfn) -> Result<(), Failure> {
    let (unread, written) = (AtomicU64::new(0), AtomicU64::new(0));
    work::on_every_cpu(&|| {
        for entry in [0, 511] {
            let at = MACHINE.direct(table.addr()).plus(entry * 8);
            unread.fetch_add(u64::from(probe::read_byte(at).is_err()), Relaxed);
            // SAFETY: where the table can be written after all, the byte that is there goes back; no CPU changes it
            // meanwhile but to the same.
            written.fetch_add(u64::from(unsafe { probe::rewrite_byte(at) }.is_ok()), Relaxed);
        }
    });
    let (unread, written) = (unread.into_inner(), written.into_inner());
    ensure!(unread == 0, "the table in frame {table} could not be read {unread} times");
    ensure!(written == 0, "the table in frame {table} could be written {written} times");
    Ok(())
}

/// A fault that comes while the key is open: its handler runs with the key closed, and the code goes on with what it
/// had.
fn a_handler_finds_the_key_closed(_: &'static Boot) -> Result<(), Failure> {
    if in_force() != Protection::Keys {
        return Ok(());
    }
    let missed = AtomicU64::new(0);
    work::on_every_cpu(&|| {
        let guard = MACHINE.irq_off();
        let here = area::here(guard.irq_off().pinned());
        let handler_keys = &here.own().handler_keys;
        let before = Pkrs.value();
        let seen = keyed::while_open(&Pkrs, pkrs::KEY, guard.irq_off(), || {
            handler_keys.store(u64::MAX, Relaxed);
            let faulted = probe::read_byte(NOWHERE).is_err();
            let handler = handler_keys.load(Relaxed);
            faulted
                && handler == u64::from(pkrs::CLOSED)
                && pkrs::KEY.rights(Pkrs.value()) == Rights::ReadWrite
        });
        let is_right = seen && before == pkrs::CLOSED && Pkrs.value() == before;
        missed.fetch_add(u64::from(!is_right), Relaxed);
    });
    let missed = missed.into_inner();
    ensure!(missed == 0, "on {missed} CPUs a handler or what it went back to had the wrong rights");
    Ok(())
}

fn audit_sees_a_writable_table(_: &'static Boot) -> Result<(), Failure> {
    sees(Protection::Windows, TableFault::WritableTable, |flaw| matches!(flaw, Flaw::Writable { .. }))?;
    sees(Protection::Keys, TableFault::WritableTable, |flaw| matches!(flaw, Flaw::Writable { .. }))
}

fn audit_sees_an_open_key(_: &'static Boot) -> Result<(), Failure> {
    sees(Protection::Keys, TableFault::OpenKey, |flaw| matches!(flaw, Flaw::KeyOpen { .. }))
}

/// Where tables are protected in this way: injects a flaw, looks whether the audit reports it, and takes it away.
fn sees(way: Protection, what: TableFault, expected: fn(&Flaw) -> bool) -> Result<(), Failure> {
    if in_force() != way {
        return Ok(());
    }
    inject::tables::inject(what).map_err(Failure::because)?;
    let mut seen = false;
    audit::run(|flaw| seen |= expected(&flaw));
    inject::tables::inject(TableFault::Nothing).map_err(Failure::because)?;
    ensure!(seen, "{what:?} was injected, and not found");
    let left = audit::run(|_| ());
    ensure!(left == 0, "{left} flaws are left after it was taken away");
    Ok(())
}

/// More tables than there are: a block is protected for them. All back: the block is ordinary RAM again, and the map as
/// before.
fn blocks_come_and_go_whole(boot: &'static Boot) -> Result<(), Failure> {
    if in_force() == Protection::Off {
        return Ok(());
    }
    let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    // One for the tables, and one to see that blocks that came back can be written.
    memory::must_have_blocks(2)?;
    table_supply::renew();
    let blocks = || tables::look_at_store(|store, _| store.blocks());
    let (before, shape_before) = (blocks(), shape::of_tables());
    let mut stocks = arrayvec::ArrayVec::<Stock, 32>::new();
    while blocks() == before && !stocks.is_full() {
        stocks.push(Stock::fetch(u64::MAX));
    }
    let taken: u64 = stocks.iter().map(|stock| stock.iter().count() as u64).sum();
    let flaws = audit::run(|_| ());
    let last = stocks.last().and_then(|stock| stock.iter().last());
    let stray = last.map(check);
    let planned = shape::of_plan(boot).map_err(Failure::because)?;
    let held = direct_map::with(|map| map.hold_count()).map_err(Failure::because)?;
    let (grown, shape_grown) = (blocks(), shape::of_tables());
    stocks.into_iter().for_each(Stock::release);
    table_supply::renew();
    stray.unwrap_or(Ok(()))?;
    ensure!(grown == before + 1, "{taken} tables were taken, and {before} blocks became {grown}");
    let most = before * TABLES_PER_BLOCK + table_supply::stock::BATCH as u64;
    ensure!(taken <= most, "a block more came only after {taken} tables");
    ensure!(flaws == 0, "the audit found {flaws} flaws with a block more");
    ensure!(held > grown || planned == shape_grown, "the plan is {planned}, the tables hold {shape_grown}");
    ensure!(blocks() == before, "{} blocks are left of {grown}, not {before}", blocks());
    let now = shape::of_tables();
    ensure!(now == shape_before, "the map was {shape_before}, and is {now}");
    tables::look_at_store(|store, memory| store.validate(memory))
        .map_err(|fault| Failure::because(format_args!("{fault:?}")))?;
    direct_map::validate().map_err(Failure::because)?;
    // The block is ordinary RAM: it can be written.
    let guard = MACHINE.pin();
    let block = memory::take(frames, guard.pinned(), Request::LARGE.zeroed())?;
    frames.free(guard.pinned(), block);
    Ok(())
}

/// Each block is `page tables`' in the journal, and all of each.
fn blocks_have_a_name(_: &'static Boot) -> Result<(), Failure> {
    if in_force() == Protection::Off {
        return Ok(());
    }
    let root = tables::root().table;
    let why = direct_map::with(|map| map.why(root)).map_err(Failure::because)?;
    let Some(held) = why.held else { return Err(Failure::because("no owner holds the top table's block")) };
    ensure!(held.owner.name == owners::PAGE_TABLES.name(), "the top table is held by {}", held.owner);
    ensure!(held.frames.frames() == 512, "{} frames are held around the top table", held.frames.frames());
    ensure!(Some(held.state) == protection::state(), "the top table is {}", held.state);
    let first = tables::reader().read(root, 0);
    ensure!(!first.is_present(), "the lower half of the top table is not empty");
    Ok(())
}
