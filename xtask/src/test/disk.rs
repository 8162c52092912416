//! The RAM disk of the kernel's tests: all modules, the one for tests among them, and files that are no modules of this
//! kernel, each for its own reason; the BPF programs, and some that are refused; and a folder.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rhumb_module_abi::version::NAME_BYTES;

use rhumb_bpf::assembler;

use crate::modules::{self, PROBE};
use crate::ram_disk::{self, File};
use crate::{paths, programs};

/// An import of [`PROBE`] that the damaged files are damaged at.
const IMPORT: &str = "rhumb_hold";
/// A name of the same length, which the kernel does not export.
const UNKNOWN: &str = "rhumb_moon";

/// Runs `cargo xtask modules --tests`.
pub(crate) fn command() -> Result<ExitCode> {
    println!("{}", paths::shown(&make()?));
    Ok(ExitCode::SUCCESS)
}

/// Builds the files and writes the RAM disk; returns its path.
///
/// # Errors
/// A module cannot be built, or the RAM disk cannot be written.
pub(super) fn make() -> Result<PathBuf> {
    let modules = modules::build()?;
    let probe = modules.iter().find(|module| module.name == PROBE).context("there is no module for tests")?;
    let mut files = damaged(&probe.object)?;
    files.extend(modules.into_iter().map(File::from));
    files.extend(programs::build()?.into_iter().map(File::from));
    files.extend(refused()?);
    files.push(File { name: "empty.bpf".into(), bytes: Vec::new() });
    files.push(File { name: "folder/note".into(), bytes: b"Not in the way.\n".into() });
    let path = paths::target().join("rhumb-test.tar");
    ram_disk::write(&files, &path)?;
    Ok(path)
}

/// Returns what becomes of a module that is cut, or built against other exports.
fn damaged(module: &[u8]) -> Result<Vec<File>> {
    let file = |name: &str, bytes: Vec<u8>| File { name: name.into(), bytes };
    let mut undefined = module.to_vec();
    while let Some(at) = position(&undefined, IMPORT.as_bytes()) {
        undefined[at..at + IMPORT.len()].copy_from_slice(UNKNOWN.as_bytes());
    }
    let mut record = IMPORT.as_bytes().to_vec();
    record.resize(NAME_BYTES, 0);
    let at = position(module, &record).context("the module does not say the versions of its imports")?;
    let mut version = module.to_vec();
    // The version comes before the name.
    version[at - 8] ^= 1;
    Ok(vec![
        file("truncated.ko", module[..module.len() / 2].into()),
        file("undefined.ko", undefined),
        file("version.ko", version),
        file("text.ko", b"This is no module.\n".into()),
    ])
}

/// Returns BPF programs that the kernel refuses, each for its own reason.
fn refused() -> Result<Vec<File>> {
    let programs = [
        ("loop.bpf", "program loop split\nmov r0, 0\nagain:\nadd r0, 1\nja -2\nexit"),
        ("wild.bpf", "program wild split\nlddw r2, 0xffff800000000000\nldxdw r0, [r2+0]\nexit"),
        ("leak.bpf", "program leak split\nmov r0, r1\nexit"),
    ];
    let mut files = Vec::new();
    for (name, text) in programs {
        files.push(File { name: name.into(), bytes: assembler::assemble(text)? });
    }
    let mut opcode = assembler::assemble_raw("mov r0, 0\nexit")?;
    opcode[0] = 0xff;
    files.push(File { name: "opcode.bpf".into(), bytes: opcode });
    Ok(files)
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
