//! Loadable modules: code that comes and goes while the kernel runs.
//!
//! ```text
//!           claim a place    parse, check      parts of the pool    link, write      header     start
//! NAME.ko ───────────────> ──────────────> ──────────────────────> ────────────> ────────────> ───────> live
//!           any error: all that was taken goes back, one sentence, nothing has changed
//!
//! live ──> (no users) going: no CPU comes in any more ──> stop ──> parts return to the pool: every CPU traps there
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`registry`] | the places of modules, their states and their users |
//! | [`parts`] | a module's memory in the pool of executable memory |
//! | [`header`] | a module's own description, with every pointer checked |
//! | [`exports`] | the functions that modules may call |
//! | [`commands`], [`ticks`] | the prompt's commands of modules; their calls by time |
//! | [`names`] | whose code an address is, for backtraces |
//! | [`error`] | [`ModuleError`] |
//!
//! A user is a command or a tick that runs, or a hold that the module itself has counted. A module with a user is not
//! unloaded: as with Linux's `rmmod`, the answer is an error and not a wait, because a use can take as long as a person
//! likes. A user is counted under the registry's lock before the first instruction of the module runs, and no longer when
//! the last one has; so no CPU is in the code of a module that is going, but the one that stops it.
//!
//! A module is part of the kernel: it can do all that the kernel can. The loader refuses what it can see; the modules'
//! crate (`modules/api`) makes that a module without `unsafe` cannot do harm.

pub mod commands;
mod error;
mod exports;
mod header;
pub mod names;
mod parts;
mod registry;
pub mod ticks;

use rhumb_module_abi::types::Header;
use rhumb_modules::{Image, Part};
use rhumb_monitor::Output;
use rhumb_symbols::SymbolTable;

use crate::mm::owners::Owner;
use crate::platform::ram_disk;
use commands::Call;
pub use error::ModuleError;
use exports::Kernel;
use header::Checked;
use parts::Parts;
use registry::Claim;
pub use registry::list;

/// The end of a module's file name.
pub const ENDING: &str = ".ko";

/// Loads the module `name`, with or without [`ENDING`], from the RAM disk in the name of `owner`, and starts it. It prints
/// to `out` meanwhile.
///
/// # Errors
/// [`ModuleError`]: nothing has changed then.
pub fn load(name: &str, owner: Owner, out: &mut dyn Output) -> Result<(), ModuleError> {
    let name = name.strip_suffix(ENDING).unwrap_or(name);
    let is_its = |file: &ram_disk::File| file.name.strip_suffix(ENDING) == Some(name);
    ram_disk::check().map_err(ModuleError::NoDisk)?;
    let file = ram_disk::files().find(is_its).ok_or(ModuleError::NoFile)?;
    let claim = Claim::new(name)?;
    let image = Image::parse(file.bytes)?;
    image.check_imports(&Kernel)?;
    let mut parts = Parts::allocate(image.layout(), name, owner)?;
    let linked = parts.fill(&image, &Kernel)?;
    // SAFETY: the linker has checked that a whole header, aligned, lies there in the read-only part, which is mapped until
    // the parts are freed.
    let header = unsafe { Checked::new(linked.header, name, &parts) }?;
    commands::check(&header)?;
    let symbols = SymbolTable::parse(image.names()).ok();
    let bytes = Part::ALL.map(|part| image.layout().bytes(part));
    let loaded = claim.fill(parts, header, symbols, owner, bytes);
    log::info!("module {name}: {}", loaded.header().description());
    let started = match loaded.header().start() {
        Some(start) => {
            let mut call = Call::new(out);
            // SAFETY: the module's function, which the header's version says is of this type; the place where it prints
            // lives as long as the call.
            let status = unsafe { start(call.as_out()) };
            if status == 0 { Ok(()) } else { Err(ModuleError::Start(call.failure())) }
        }
        None => Ok(()),
    };
    match started {
        Ok(()) => {
            loaded.go_live();
            Ok(())
        }
        Err(error) => {
            loaded.unload();
            Err(error)
        }
    }
}

/// Stops the module `name` and gives its memory back.
///
/// # Errors
/// [`ModuleError`]: there is no such module, or it has users. Nothing has changed then.
pub fn unload(name: &str) -> Result<(), ModuleError> {
    let name = name.strip_suffix(ENDING).unwrap_or(name);
    let going = registry::retire(name)?;
    if let Some(stop) = going.header().stop() {
        // SAFETY: the module's function, of this type by the header's version; the module has no users and gets none.
        unsafe { stop() };
    }
    going.unload();
    Ok(())
}

const _: () = assert!(size_of::<Header>() < 4096);
