//! A QEMU plugin that counts marked regions, and traces their accesses: glue between QEMU's plugin API and
//! `rhumb-count` and `rhumb-trace`.
//!
//! At translation each instruction gets a callback: a mark one that tells the counter of it, any other one that returns
//! at once while no region is open. The callback's data travels in the word that QEMU hands back, so nothing is
//! allocated and nothing outlives a translation.
//!
//! State: one counter behind one lock, and beside it the number that says whether anything is open. Under `-icount`
//! QEMU executes all CPUs in one thread, and the lock is never contended.

#![deny(unsafe_op_in_unsafe_fn)]

mod api;
mod memory;
mod registers;
mod trace;

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use api::{Block, MemoryInfo, NO_REGISTERS, PluginId, READS_AND_WRITES, Translated};
use rhumb_count::{Access, Counter, Instruction};
use rhumb_mark::{Mark, RegionId};

/// Bits of an address below its page.
const PAGE_SHIFT: u32 = 12;

/// QEMU's first look at a plugin: the version of the API that the plugin was made for, an `int`. QEMU compares it with
/// the versions that it accepts, of which 7.2 and 10.0 have none in common, so it is set when the library is loaded.
// SAFETY: no other symbol of this process has this name: QEMU asks the library itself for it.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "QEMU's name")]
pub static qemu_plugin_version: AtomicI32 = AtomicI32::new(api::FIRST);

/// Called by the dynamic linker before QEMU looks at anything.
// SAFETY: the section holds functions of this type, called once each when the library is loaded.
#[unsafe(link_section = ".init_array")]
#[used]
static ON_LOAD: extern "C" fn() = declare_version;

extern "C" fn declare_version() {
    qemu_plugin_version.store(api::version_to_declare(), Relaxed);
}

/// The options of `-plugin`.
struct Options {
    /// Where the report goes.
    out: PathBuf,
    /// Whether accesses to memory are counted.
    memory: bool,
}

static OPTIONS: OnceLock<Options> = OnceLock::new();
static COUNTER: OnceLock<Mutex<Counter>> = OnceLock::new();
/// Whether some region is open. Under `-icount` exact; with CPUs in threads of their own, regions of others begin a
/// little late.
static COUNTING: AtomicBool = AtomicBool::new(false);

fn counter() -> MutexGuard<'static, Counter> {
    // A panic in a callback ends the process, so that the lock is never found poisoned.
    COUNTER.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// QEMU's second call: the arguments. A status other than 0 ends QEMU.
///
/// # Safety
/// Called by QEMU, with `count` pointers to strings behind `arguments`, and its description of itself behind `info`.
// SAFETY: no other symbol of this process has this name: QEMU asks the library itself for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    info: *const api::Info,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    let words: Vec<String> = (0..usize::try_from(count).unwrap_or(0))
        // SAFETY: QEMU promises `count` pointers to strings behind `arguments`.
        .map(|index| unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy().into_owned())
        .collect();
    let begun = options(&words).and_then(|(options, trace)| {
        trace.map_or(Ok(()), trace::begin)?;
        Ok(options)
    });
    match begun {
        Ok(options) => {
            // QEMU installs a loaded library once.
            let _ = OPTIONS.set(options);
        }
        Err(complaint) => {
            eprintln!("rhumb-count-plugin: {complaint}");
            return -1;
        }
    }
    // SAFETY: QEMU's description; its own number, functions of the right types, no data.
    unsafe {
        (*info).adopt();
        api::qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
        api::qemu_plugin_register_atexit_cb(id, on_exit, std::ptr::null_mut());
    }
    0
}

const ARGUMENTS: &str =
    "the arguments are out=FILE, memory=on|off, and for a trace trace=FILE, geometries=FILE and low=BYTES";

fn options(words: &[String]) -> Result<(Options, Option<trace::Options>), String> {
    let (mut out, mut memory) = (None, false);
    let (mut trace, mut geometries, mut low_bytes) = (None, None, None);
    for word in words {
        match word.split_once('=') {
            Some(("out", file)) => out = Some(PathBuf::from(file)),
            Some(("memory", "on")) => memory = true,
            Some(("memory", "off")) => memory = false,
            Some(("trace", file)) => trace = Some(PathBuf::from(file)),
            Some(("geometries", file)) => geometries = Some(PathBuf::from(file)),
            Some(("low", bytes)) if bytes.parse::<u64>().is_ok() => low_bytes = bytes.parse().ok(),
            _ => return Err(format!("`{word}`: {ARGUMENTS}")),
        }
    }
    let out = out.ok_or("out=FILE is missing: where the report goes")?;
    let trace = match (trace, geometries, low_bytes) {
        (None, None, None) => None,
        (Some(out), Some(geometries), Some(low_bytes)) => Some(trace::Options { out, geometries, low_bytes }),
        _ => return Err(format!("a trace takes three arguments: {ARGUMENTS}")),
    };
    Ok((Options { out, memory }, trace))
}

/// Gives each instruction of a block its callbacks.
extern "C" fn on_translation(_: PluginId, block: *mut Block) {
    let memory = OPTIONS.get().is_some_and(|options| options.memory);
    // SAFETY: QEMU's block, alive during this call.
    let instructions = unsafe { api::qemu_plugin_tb_n_insns(block) };
    let mut page = None;
    for index in 0..instructions {
        // SAFETY: the index is below the number of instructions.
        let translated = unsafe { api::qemu_plugin_tb_get_insn(block, index) };
        instrument(translated, memory, &mut page);
    }
}

/// Gives an instruction its callbacks. `page` is that of the instruction before it in the block.
fn instrument(translated: *mut Translated, memory: bool, page: &mut Option<u64>) {
    let mut bytes = [0; api::MAX_BYTES];
    // SAFETY: QEMU's instruction, alive during this call.
    let (address, code) =
        unsafe { (api::qemu_plugin_insn_vaddr(translated), api::code(translated, &mut bytes)) };
    let (callback, word): (api::OnExecution, u64) = match Mark::decode(code) {
        Some(Mark::Begin(id)) => (on_begin, u64::from(id.get())),
        Some(Mark::End(id)) => (on_end, u64::from(id.get())),
        None => (on_execution, Instruction::new(address, code).pack()),
    };
    let data = std::ptr::without_provenance_mut(word as usize);
    let is_traced = trace::is_on();
    let is_mark = !std::ptr::fn_addr_eq(callback, on_execution as api::OnExecution);
    let flags = if is_traced && is_mark { trace::READS_REGISTERS } else { NO_REGISTERS };
    // SAFETY: QEMU's instruction, alive during this call; the word is no pointer to QEMU, which only hands it back.
    unsafe {
        api::qemu_plugin_register_vcpu_insn_exec_cb(translated, callback, flags, data);
        if is_traced {
            let its_page = Some(address >> PAGE_SHIFT);
            trace::instrument(translated, address, code, *page != its_page);
            *page = its_page;
        }
        if memory || is_traced {
            let none = std::ptr::null_mut();
            api::qemu_plugin_register_vcpu_mem_cb(
                translated,
                on_access,
                NO_REGISTERS,
                READS_AND_WRITES,
                none,
            );
        }
    }
}

extern "C" fn on_begin(cpu: c_uint, word: *mut c_void) {
    mark(cpu, word, Mark::Begin);
}

extern "C" fn on_end(cpu: c_uint, word: *mut c_void) {
    mark(cpu, word, Mark::End);
}

fn mark(cpu: c_uint, word: *mut c_void, kind: fn(RegionId) -> Mark) {
    if let Some(id) = u16::try_from(word.addr()).ok().and_then(RegionId::new) {
        // SAFETY: marks read registers where there is a trace.
        unsafe { trace::mark(cpu, kind(id)) };
        let mut counter = counter();
        counter.mark(cpu as usize, kind(id));
        COUNTING.store(!counter.is_idle(), Relaxed);
    }
}

extern "C" fn on_execution(cpu: c_uint, word: *mut c_void) {
    if COUNTING.load(Relaxed) {
        counter().execute(cpu as usize, Instruction::unpack(word.addr() as u64));
    }
}

extern "C" fn on_access(cpu: c_uint, info: MemoryInfo, address: u64, _: *mut c_void) {
    let is_counted = COUNTING.load(Relaxed) && OPTIONS.get().is_some_and(|options| options.memory);
    if !is_counted && !trace::is_armed() {
        return;
    }
    // SAFETY: QEMU's own description of the access.
    let (shift, is_store) =
        unsafe { (api::qemu_plugin_mem_size_shift(info), api::qemu_plugin_mem_is_store(info)) };
    let bytes = 1 << (shift & 0xf);
    trace::access(cpu, address, bytes, is_store);
    if is_counted {
        let access = if is_store { Access::Write } else { Access::Read };
        counter().access(cpu as usize, address, bytes, access);
    }
}

/// Writes the reports.
extern "C" fn on_exit(_: PluginId, _: *mut c_void) {
    COUNTING.store(false, Relaxed);
    let Some(options) = OPTIONS.get() else { return };
    let report = counter().finish();
    let written = fs::write(&options.out, report.to_string())
        .map_err(|error| format!("{} cannot be written: {error}", options.out.display()));
    for complaint in [written, trace::finish()].into_iter().filter_map(Result::err) {
        if let Ok(text) = CString::new(format!("rhumb-count-plugin: {complaint}\n")) {
            // SAFETY: a string with its final zero, which QEMU copies.
            unsafe { api::qemu_plugin_outs(text.as_ptr()) };
        }
    }
}
