//! The initial RAM disk: a tar archive of what the kernel loads while it runs.
//!
//! The same files give the same bytes: no times and no owners are in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use tar::{Builder, EntryType, Header};

use crate::modules::{self, Module, PROBE};
use crate::programs::Program;
use crate::{paths, programs};

/// The word for no RAM disk.
const NONE: &str = "none";

/// A file for the RAM disk.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl From<Module> for File {
    fn from(module: Module) -> Self {
        Self { name: format!("{}.ko", module.name), bytes: module.object }
    }
}

impl From<Program> for File {
    fn from(program: Program) -> Self {
        Self { name: format!("{}.bpf", program.name), bytes: program.object }
    }
}

/// Runs `cargo xtask modules`.
pub(crate) fn command() -> Result<ExitCode> {
    println!("{}", paths::shown(&usual()?));
    Ok(ExitCode::SUCCESS)
}

/// Refuses a RAM disk that a person asks for and that is not there: before a build, which takes minutes.
///
/// # Errors
/// It is no file, and not `none`.
pub(crate) fn check(file: Option<&Path>) -> Result<()> {
    if let Some(file) = file.filter(|&file| file != Path::new(NONE)) {
        ensure!(file.is_file(), "the RAM disk {} is not there, or is no file", file.display());
    }
    Ok(())
}

/// Returns the RAM disk that a person asks for: a file, `none`, or the usual one.
///
/// # Errors
/// The usual one cannot be made, or the file is not there.
pub(crate) fn chosen(file: Option<&Path>) -> Result<Option<PathBuf>> {
    match file {
        None => usual().map(Some),
        Some(file) if file == Path::new(NONE) => Ok(None),
        Some(file) => {
            check(Some(file))?;
            Ok(Some(file.to_path_buf()))
        }
    }
}

/// Writes the RAM disk of this tree's modules and BPF programs, and returns its path.
///
/// # Errors
/// A part cannot be built, or the file cannot be written.
pub(crate) fn usual() -> Result<PathBuf> {
    let modules = modules::build()?.into_iter().filter(|module| module.name != PROBE);
    let files: Vec<File> =
        modules.map(File::from).chain(programs::build()?.into_iter().map(File::from)).collect();
    let path = paths::target().join("rhumb.tar");
    write(&files, &path)?;
    Ok(path)
}

/// Writes a RAM disk of these files.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(files: &[File], path: &Path) -> Result<()> {
    let bytes = archive(files).context("the RAM disk cannot be put together")?;
    // Renamed into place, so that a machine that boots from the old one is not disturbed.
    let fresh = path.with_extension(format!("tar.{}", std::process::id()));
    fs::write(&fresh, bytes).with_context(|| format!("{} cannot be written", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("{} cannot be replaced", path.display()))
}

fn archive(files: &[File]) -> std::io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let mut folders: Vec<&str> = Vec::new();
    for file in files {
        // As `tar` does, a folder has an entry before its first file.
        if let Some((folder, _)) = file.name.rsplit_once('/').filter(|(folder, _)| !folders.contains(folder))
        {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::Directory);
            header.set_size(0);
            header.set_mode(0o755);
            archive.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
            folders.push(folder);
        }
        let mut header = Header::new_ustar();
        header.set_size(file.bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, &file.name, &*file.bytes)?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests;
