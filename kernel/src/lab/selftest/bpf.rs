//! BPF programs in the kernel: each event is told, none that a program causes itself; detaching waits; memory returns to
//! the byte.

use alloc::boxed::Box;
use core::sync::atomic::Ordering::Relaxed;

use rhumb_bpf::{Context, LoadError};
use rhumb_directmap::Change;
use rhumb_frames::Request;
use rhumb_machine::{Machine, PageSize, VirtAddr};

use super::fixture::{Large, State, WHO, wrong};
use super::memory::{allocator, drain_all};
use super::{Test, memory};
use crate::bpf::{self, BpfError};
use crate::cpu::machine::MACHINE;
use crate::cpu::trace::{self, Event};
use crate::cpu::{area, work};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::probe;
use crate::mm;
use crate::mm::direct_map::{change, restore};

pub const TESTS: &[Test] = &[
    Test { name: "bpf::each_event_is_told", run: each_event_is_told },
    Test { name: "bpf::events_within_a_program_are_missed", run: events_within_a_program_are_missed },
    Test { name: "bpf::programs_end_while_cpus_run_them", run: programs_end_while_cpus_run_them },
    Test { name: "bpf::memory_returns_to_the_byte", run: memory_returns_to_the_byte },
    Test { name: "bpf::refused_programs_leave_nothing", run: refused_programs_leave_nothing },
];

/// The name of the test's object.
const NAME: &str = "selftest";
/// `mov r0, 0; exit`
const NOTHING: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
/// A program with a hash, that adds the size of an event to its owner's count: a compiler's file.
const WITH_A_MAP: &[u8] = COMPILED;
/// The same program in a section that names no event, so that it can be attached to any.
pub const FOR_ANY_EVENT: &[u8] = &without_event(*COMPILED);

const COMPILED: &[u8; include_bytes!("../../../../crates/parts/bpf/tests/clang.o").len()] =
    include_bytes!("../../../../crates/parts/bpf/tests/clang.o");

/// Writes over the event in the names of sections.
const fn without_event<const BYTES: usize>(mut file: [u8; BYTES]) -> [u8; BYTES] {
    const SECTION: &[u8] = b"trace/split";
    const EVENT: usize = b"trace/".len();
    let mut at = 0;
    while at + SECTION.len() <= BYTES {
        let mut same = 0;
        while same < SECTION.len() && file[at + same] == SECTION[same] {
            same += 1;
        }
        if same == SECTION.len() {
            file[at + EVENT] = b'-';
        }
        at += 1;
    }
    file
}

/// An object that is loaded for a test.
struct Loaded;

impl Loaded {
    fn new(file: &[u8]) -> Result<Self, Failure> {
        match bpf::load(NAME, file) {
            Ok(()) => Ok(Self),
            Err(BpfError::Load(LoadError::OutOfMemory) | BpfError::TooMany) => {
                Err(memory::short("no object fits"))
            }
            Err(error) => Err(Failure::because(error)),
        }
    }

    fn runs(&self) -> Result<u64, Failure> {
        bpf::with(NAME, |loaded| loaded.runs_of(0)).map_err(Failure::because)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = bpf::detach(NAME, None);
        if let Err(error) = bpf::unload(NAME) {
            log::error!("the test's program is left: {error}");
        }
    }
}

fn each_event_is_told(boot: &'static Boot) -> Result<(), Failure> {
    let before = State::now()?;
    let block = Large::new()?;
    // A map of small pages has none to split or to merge.
    let is_split = boot.largest_page != PageSize::Size4K;
    for event in
        Event::ALL.into_iter().filter(|event| is_split || !matches!(event, Event::Split | Event::Merge))
    {
        let loaded = Loaded::new(&NOTHING)?;
        bpf::attach(NAME, Some(event)).map_err(Failure::because)?;
        provoke(event, &block)?;
        ensure!(loaded.runs()? > 0, "{} was not told", event.name());
        bpf::detach(NAME, Some(event)).map_err(Failure::because)?;
        let runs = loaded.runs()?;
        provoke(event, &block)?;
        ensure!(loaded.runs()? == runs, "{} was told to a program that is detached", event.name());
    }
    drop(block);
    before.must_be_now()
}

/// Makes an event happen.
fn provoke(event: Event, block: &Large) -> Result<(), Failure> {
    match event {
        Event::PageFault => {
            let nothing = VirtAddr::new(0xffff_ffff_0000_0000);
            ensure!(probe::read_byte(nothing).is_err(), "something is mapped at {nothing}");
        }
        Event::Split | Event::Merge | Event::Flush => {
            let changed = change(block.pages(3, 1), Change::ReadOnly, WHO, "an event").map_err(wrong)?;
            let _ = restore(changed);
        }
        Event::FrameAlloc | Event::FrameFree => {
            let (frames, guard) = (allocator()?, MACHINE.pin());
            let frame = memory::take(frames, guard.pinned(), Request::FRAME)?;
            frames.free(guard.pinned(), frame);
        }
        Event::ObjectAlloc | Event::ObjectFree => {
            memory::must_be_free(8)?;
            drop(core::hint::black_box(Box::new([0_u64; 8])));
        }
    }
    Ok(())
}

fn events_within_a_program_are_missed(_: &'static Boot) -> Result<(), Failure> {
    let loaded = Loaded::new(&NOTHING)?;
    bpf::attach(NAME, Some(Event::Merge)).map_err(Failure::because)?;
    let missed = bpf::missed();
    let guard = MACHINE.irq_off();
    let here = area::here(guard.irq_off().pinned());
    here.own().runs_program.store(true, Relaxed);
    trace::tell(Event::Merge, || Context::EMPTY);
    here.own().runs_program.store(false, Relaxed);
    drop(guard);
    ensure!(loaded.runs()? == 0, "a program ran within another");
    ensure!(bpf::missed() == missed + 1, "{} events were missed, not 1", bpf::missed() - missed);
    Ok(())
}

/// The boot CPU attaches, detaches and unloads, while the others allocate.
fn programs_end_while_cpus_run_them(_: &'static Boot) -> Result<(), Failure> {
    const TURNS: usize = 20;
    let frames = allocator()?;
    let busy = || {
        for _ in 0..2_000 {
            let guard = MACHINE.pin();
            if let Ok(frame) = frames.alloc(guard.pinned(), Request::FRAME) {
                frames.free(guard.pinned(), frame);
            }
        }
    };
    let mut result = Ok(());
    work::on_others(&busy, || {
        result = (0..TURNS).try_for_each(|_| {
            let _loaded = Loaded::new(FOR_ANY_EVENT)?;
            bpf::attach(NAME, Some(Event::FrameAlloc)).map_err(Failure::because)?;
            busy();
            let faults = bpf::with(NAME, bpf::Loaded::faults).map_err(Failure::because)?;
            ensure!(faults == 0, "{faults} runs had a fault");
            Ok(())
        });
    });
    result
}

fn memory_returns_to_the_byte(_: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    let slabs = mm::objects::slabs().ok_or_else(|| Failure::because("there are no object caches"))?;
    let now = || {
        drain_all(frames);
        (slabs.totals().live_bytes, frames.totals().free)
    };
    // The first time may leave caches and magazines that are made once.
    drop(Loaded::new(WITH_A_MAP)?);
    let before = now();
    for _ in 0..3 {
        let _loaded = Loaded::new(WITH_A_MAP)?;
        bpf::attach(NAME, None).map_err(Failure::because)?;
    }
    let after = now();
    ensure!(before == after, "{before:?} bytes in use and frames free before, {after:?} after");
    Ok(())
}

fn refused_programs_leave_nothing(_: &'static Boot) -> Result<(), Failure> {
    // `ja -1; exit`, and the first half of a compiler's file.
    let looping = [0x05, 0, 0xff, 0xff, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let slabs = mm::objects::slabs().ok_or_else(|| Failure::because("there are no object caches"))?;
    let before = slabs.totals().live_bytes;
    for file in [&looping[..], &WITH_A_MAP[..WITH_A_MAP.len() / 2], &[]] {
        match bpf::load(NAME, file) {
            Err(BpfError::Load(_)) => {}
            other => {
                let _ = bpf::unload(NAME);
                return Err(Failure::because(format_args!("{other:?} instead of a refusal")));
            }
        }
    }
    let after = slabs.totals().live_bytes;
    ensure!(before == after, "{before} bytes in use before, {after} after");
    Ok(())
}
