//! Modules from the RAM disk: loaded, used, unloaded, refused, with nothing left behind. Skipped where the RAM disk is not
//! that of the tests.

use arrayvec::ArrayVec;
use rhumb_frames::{Frame, Request};
use rhumb_machine::{Machine, Order};
use rhumb_modules::LoadError;
use rhumb_modules::error::{NotAnObject, Piece};
use rhumb_monitor::{Arguments, ChangingCommands, Output};

use super::Test;
use super::exhaustion::take_all;
use super::fixture::State;
use super::memory::{allocator, drain_all};
use crate::cpu::machine::MACHINE;
use crate::debug::audit::audit;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::owners::SELF_TEST;
use crate::mm::{self, code};
use crate::modules::commands::ModuleCommands;
use crate::modules::{self, ModuleError, ticks};
use crate::platform::ram_disk;

pub const TESTS: &[Test] = &[
    Test { name: "modules::memory_comes_back_to_the_byte", run: memory_comes_back_to_the_byte },
    Test { name: "modules::one_in_use_stays", run: one_in_use_stays },
    Test { name: "modules::one_without_a_tick_wakes_no_cpu", run: one_without_a_tick_wakes_no_cpu },
    Test { name: "modules::it_releases_its_own_holds_alone", run: it_releases_its_own_holds_alone },
    Test { name: "modules::files_that_are_none_change_nothing", run: files_that_are_none_change_nothing },
    Test { name: "modules::i12_without_memory_nothing_changes", run: i12_without_memory_nothing_changes },
    Test { name: "modules::i4_parts_have_their_permissions", run: i4_parts_have_their_permissions },
];

const PROBE: &str = "probe";

/// A place where modules print, of which nothing is kept but its length.
struct Quiet(usize);

impl Output for Quiet {
    fn write_str(&mut self, text: &str) {
        self.0 += text.len();
    }

    fn interrupted(&self) -> bool {
        false
    }
}

fn load(name: &str) -> Result<(), ModuleError> {
    modules::load(name, SELF_TEST, &mut Quiet(0))
}

/// Has the test's module do something.
fn probe(deed: &str) -> Result<(), Failure> {
    let (out, arguments) = (&mut Quiet(0), Arguments::new(deed));
    match ModuleCommands.run(PROBE, &mut (), arguments, out) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(Failure::because(format_args!("probe {deed}: {error}"))),
        None => Err(Failure::because("the module's command is not there")),
    }
}

/// Tells whether the RAM disk has the module for these tests.
pub fn has_probe() -> bool {
    ram_disk::files().any(|file| file.name == "probe.ko")
}

fn skipped_without_probe() -> Result<(), Failure> {
    if modules::list().iter().any(|module| module.name.as_str() == PROBE) {
        return Err(Failure::skipped("the module for tests is loaded"));
    }
    Ok(())
}

/// All memory that a module could leave behind.
#[derive(PartialEq, Debug)]
struct Memory {
    free_frames: u64,
    parts: u64,
    blocks: u64,
}

impl Memory {
    /// Returns the state when no CPU keeps anything for later.
    fn now() -> Result<Self, Failure> {
        let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
        let pool = code::pool().ok_or_else(|| Failure::skipped("there is no executable memory"))?;
        drain_all(frames);
        let report = pool.report();
        let sum = |of: fn(&rhumb_code::KindReport) -> u64| report.kinds.iter().map(of).sum();
        Ok(Self {
            free_frames: frames.totals().free,
            parts: sum(|kind| kind.parts),
            blocks: sum(|kind| kind.blocks),
        })
    }
}

fn memory_comes_back_to_the_byte(_: &'static Boot) -> Result<(), Failure> {
    skipped_without_probe()?;
    let state = State::now()?;
    let mut before = None;
    // The first time, caches of the allocators fill.
    for _ in 0..4 {
        load(PROBE).map_err(Failure::because)?;
        let deeds = probe("alloc").and_then(|()| probe("data")).and_then(|()| probe("ticks"));
        modules::unload(PROBE).map_err(Failure::because)?;
        deeds?;
        let now = Memory::now()?;
        if let Some(before) = before.replace(now) {
            let now = Memory::now()?;
            ensure!(now == before, "{now:?} after it was unloaded, {before:?} before it was loaded");
        }
    }
    ensure!(probe("data").is_err(), "the command of a module that is gone is there");
    state.must_be_now()
}

fn one_in_use_stays(_: &'static Boot) -> Result<(), Failure> {
    skipped_without_probe()?;
    load(PROBE).map_err(Failure::because)?;
    let outcome = (|| {
        let again = load(PROBE);
        ensure!(again == Err(ModuleError::Loaded), "it was loaded twice: {again:?}");
        probe("hold")?;
        let refused = modules::unload(PROBE);
        ensure!(refused == Err(ModuleError::InUse { users: 1 }), "with a user: {refused:?}");
        // It goes on as if nothing had been.
        probe("alloc")?;
        probe("release")
    })();
    let unloaded = modules::unload(PROBE);
    outcome?;
    unloaded.map_err(Failure::because)?;
    let gone = modules::unload(PROBE);
    ensure!(gone == Err(ModuleError::NotLoaded), "it was unloaded twice: {gone:?}");
    Ok(())
}

/// The prompt's CPU sleeps until the next tick is due: with none, not for no time.
fn one_without_a_tick_wakes_no_cpu(_: &'static Boot) -> Result<(), Failure> {
    const TICKLESS: &str = "memtest";
    skipped_without_probe()?;
    if !modules::list().is_empty() {
        return Err(Failure::skipped("modules are loaded, which may have ticks"));
    }
    load(TICKLESS).map_err(Failure::because)?;
    let next = ticks::ns_to_next();
    let both = load(PROBE).map(|()| (ticks::ns_to_next(), modules::unload(PROBE)));
    modules::unload(TICKLESS).map_err(Failure::because)?;
    ensure!(next.is_none(), "a module without a tick has one due in {next:?} ns");
    let (next, unloaded) = both.map_err(Failure::because)?;
    unloaded.map_err(Failure::because)?;
    ensure!(next.is_some(), "the tick of a module is not due beside one without");
    Ok(())
}

fn it_releases_its_own_holds_alone(_: &'static Boot) -> Result<(), Failure> {
    skipped_without_probe()?;
    load(PROBE).map_err(Failure::because)?;
    // The module gives back a hold that it does not have, and so does not give back its running command's.
    let deed = probe("cheat");
    modules::unload(PROBE).map_err(Failure::because)?;
    deed
}

fn files_that_are_none_change_nothing(_: &'static Boot) -> Result<(), Failure> {
    skipped_without_probe()?;
    let state = State::now()?;
    let listed = modules::list().len();
    let _warm = Memory::now()?;
    let before = Memory::now()?;
    let is_right = |name: &str, error: &ModuleError| match (name, error) {
        ("truncated", ModuleError::Load(LoadError::Truncated(Piece::SectionHeaders))) => true,
        ("undefined", ModuleError::Load(LoadError::Undefined("rhumb_moon"))) => true,
        ("version", ModuleError::Load(LoadError::OtherVersion { symbol: "rhumb_hold", kernel, module })) => {
            *kernel == *module ^ 1
        }
        ("text", ModuleError::Load(LoadError::NotAnObject(NotAnObject::NotElf))) => true,
        ("moon", ModuleError::NoFile) => true,
        _ => false,
    };
    for name in ["truncated", "undefined", "version", "text", "moon"] {
        match load(name) {
            Ok(()) => {
                let _ = modules::unload(name);
                return Err(Failure::because(format_args!("{name} was loaded")));
            }
            Err(error) => ensure!(is_right(name, &error), "{name}: {error}"),
        }
    }
    ensure!(modules::list().len() == listed, "a module is listed that was not loaded");
    let now = Memory::now()?;
    ensure!(now == before, "{now:?} after five refusals, {before:?} before");
    state.must_be_now()
}

/// With so many 2-MiB blocks free and nothing else, a load succeeds or leaves all as it was.
fn i12_without_memory_nothing_changes(_: &'static Boot) -> Result<(), Failure> {
    const MOST: usize = 6;
    skipped_without_probe()?;
    let frames = allocator()?;
    load(PROBE).map_err(Failure::because)?;
    modules::unload(PROBE).map_err(Failure::because)?;
    let before = Memory::now()?;
    let mut loaded = 0;
    for large_blocks in 0..=MOST {
        drain_all(frames);
        let chain = {
            let guard = MACHINE.pin();
            let mut kept: ArrayVec<Frame, MOST> = ArrayVec::new();
            while kept.len() < large_blocks
                && let Ok(frame) = frames.alloc(guard.pinned(), Request::LARGE)
            {
                kept.push(frame);
            }
            let chain = take_all(frames, guard.pinned(), 0..=Order::HUGE.get());
            kept.into_iter().for_each(|frame| frames.free(guard.pinned(), frame));
            chain
        };
        let outcome = load(PROBE);
        let unloaded = if outcome.is_ok() { modules::unload(PROBE) } else { Ok(()) };
        let guard = MACHINE.pin();
        chain.free(frames, guard.pinned());
        drop(guard);
        unloaded.map_err(Failure::because)?;
        match outcome {
            Ok(()) => loaded += 1,
            Err(ModuleError::Pool(..) | ModuleError::NoMemory) => {}
            Err(error) => return Err(Failure::because(format_args!("with too little memory: {error}"))),
        }
        let now = Memory::now()?;
        // Caches may have given up what they kept.
        let is_whole =
            now.free_frames >= before.free_frames && (now.parts, now.blocks) == (before.parts, before.blocks);
        ensure!(is_whole, "{now:?} with {large_blocks} blocks of 2 MiB, {before:?} before");
    }
    ensure!((1..=MOST).contains(&loaded), "of {MOST} loads with little memory, {loaded} succeeded");
    Ok(())
}

fn i4_parts_have_their_permissions(boot: &'static Boot) -> Result<(), Failure> {
    skipped_without_probe()?;
    load(PROBE).map_err(Failure::because)?;
    let findings = audit(boot, |_| ()).findings;
    let code = modules::list().iter().find(|module| module.name.as_str() == PROBE).map(|module| module.code);
    let walked = code.map(|code| mm::tables::walk(code.start()));
    let leaf = walked.as_ref().and_then(|walk| walk.leaf());
    let permissions = leaf.map(|leaf| (leaf.permissions.writable, leaf.permissions.executable));
    modules::unload(PROBE).map_err(Failure::because)?;
    ensure!(findings == 0, "the audit finds {findings} broken rules with a module loaded");
    ensure!(permissions == Some((false, true)), "its code can be written or not executed: {permissions:?}");
    Ok(())
}
