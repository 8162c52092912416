//! The trace: accesses, blocks of instructions and flushes for `rhumb-trace`.

use std::ffi::{c_int, c_uint, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rhumb_mark::Mark;
use rhumb_tlb_model::{Flush, Geometry, Purpose};
use rhumb_trace::{Flushing, Tracer};

use crate::api::{self, Translated};
use crate::memory::GuestMemory;
use crate::registers;

/// `QEMU_PLUGIN_CB_R_REGS`: the callback reads registers.
pub(crate) const READS_REGISTERS: c_int = 1;

/// The options of a trace.
pub(crate) struct Options {
    /// Where the report goes.
    pub(crate) out: PathBuf,
    /// A file with the geometries of the models, as JSON.
    pub(crate) geometries: PathBuf,
    /// The RAM below the PCI hole.
    pub(crate) low_bytes: u64,
}

struct Trace {
    tracer: Tracer<GuestMemory>,
    out: PathBuf,
}

static TRACE: OnceLock<Mutex<Trace>> = OnceLock::new();
/// Whether the first mark has come.
static ARMED: AtomicBool = AtomicBool::new(false);

fn trace() -> Option<MutexGuard<'static, Trace>> {
    // A panic in a callback ends the process, so that the lock is never found poisoned.
    Some(TRACE.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Tells whether there is a trace.
pub(crate) fn is_on() -> bool {
    TRACE.get().is_some()
}

/// Tells whether the first mark has come, from which on accesses matter.
pub(crate) fn is_armed() -> bool {
    ARMED.load(Relaxed)
}

/// Prepares the models.
pub(crate) fn begin(options: Options) -> Result<(), String> {
    if !registers::are_shown() {
        return Err("a trace needs QEMU 9 or later, which shows the guest's registers".into());
    }
    let geometries = read(&options.geometries)?;
    let memory = GuestMemory::new(options.low_bytes);
    let tracer = Tracer::new(memory, geometries).map_err(|error| error.to_string())?;
    // QEMU installs a loaded library once.
    let _ = TRACE.set(Mutex::new(Trace { tracer, out: options.out }));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Geometry>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Gives an instruction its callbacks for the trace; `begins_page` says that it is the first of its block on its page.
///
/// # Safety
/// The instruction is one of a block whose translation QEMU is telling of.
pub(crate) unsafe fn instrument(translated: *mut Translated, address: u64, code: &[u8], begins_page: bool) {
    if begins_page {
        let data = std::ptr::without_provenance_mut(address as usize);
        // SAFETY: the caller's instruction; the word is no pointer to QEMU, which only hands it back.
        unsafe {
            api::qemu_plugin_register_vcpu_insn_exec_cb(translated, on_block, api::NO_REGISTERS, data);
        }
    }
    if let Some(flushing) = Flushing::decode(code) {
        let data = std::ptr::without_provenance_mut(flushing.pack() as usize);
        // SAFETY: as above.
        unsafe {
            api::qemu_plugin_register_vcpu_insn_exec_cb(translated, on_flush, READS_REGISTERS, data);
        }
    }
}

/// `cpu` executes a mark.
///
/// # Safety
/// Called from a callback that was registered to read registers.
pub(crate) unsafe fn mark(cpu: c_uint, mark: Mark) {
    let Some(mut trace) = trace() else { return };
    // SAFETY: the caller promises such a callback.
    let root = unsafe { registers::registers().map(|registers| registers.root()) };
    if let (Some(root), true) = (root, trace.tracer.memory_mut().open()) {
        trace.tracer.mark(cpu as usize, mark, root);
        ARMED.store(true, Relaxed);
    }
}

extern "C" fn on_block(cpu: c_uint, word: *mut c_void) {
    if is_armed()
        && let Some(mut trace) = trace()
    {
        trace.tracer.fetch(cpu as usize, word.addr() as u64);
    }
}

extern "C" fn on_flush(cpu: c_uint, word: *mut c_void) {
    if !is_armed() {
        return;
    }
    // SAFETY: this callback was registered to read registers.
    let (Some(registers), Some(mut trace)) = (unsafe { registers::registers() }, trace()) else { return };
    // SAFETY: as above.
    let register = |number| unsafe { registers.general(number) };
    let (cpu, tracer) = (cpu as usize, &mut trace.tracer);
    match Flushing::unpack(word.addr() as u64) {
        Flushing::Page(operand) => tracer.flush(cpu, Flush::Page(operand.address(register))),
        Flushing::Root(from) => {
            tracer.load_root(cpu, register(from));
            tracer.flush(cpu, Flush::NonGlobal);
        }
        Flushing::Everything => tracer.flush(cpu, Flush::All),
    }
}

/// `cpu` has accessed memory.
pub(crate) fn access(cpu: c_uint, address: u64, bytes: u64, is_store: bool) {
    if is_armed()
        && let Some(mut trace) = trace()
    {
        let purpose = if is_store { Purpose::Store } else { Purpose::Load };
        trace.tracer.access(cpu as usize, address, bytes, purpose);
    }
}

/// Writes the report. An error is a sentence.
pub(crate) fn finish() -> Result<(), String> {
    ARMED.store(false, Relaxed);
    let Some(trace) = trace() else { return Ok(()) };
    fs::write(&trace.out, trace.tracer.report().to_string())
        .map_err(|error| format!("{} cannot be written: {error}", trace.out.display()))
}
