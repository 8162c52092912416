//! The BPF programs of this tree, in `bpf/`: assembled each into an ELF file for the RAM disk.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rhumb_bpf::assembler;

use crate::paths;

/// A program that was assembled.
pub(crate) struct Program {
    /// The name by which it is loaded.
    pub(crate) name: String,
    /// Its file.
    pub(crate) object: Vec<u8>,
}

/// Assembles all programs, in the order of their names.
///
/// # Errors
/// A line of a program is not understood.
pub(crate) fn build() -> Result<Vec<Program>> {
    let folder = paths::root().join("bpf");
    let mut programs = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry.context("a folder's entry cannot be read")?.path();
        if path.extension().is_some_and(|extension| extension == "s") {
            programs.push(assemble(&path)?);
        }
    }
    programs.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(programs)
}

fn assemble(path: &Path) -> Result<Program> {
    let name = path.file_stem().and_then(|name| name.to_str()).context("a program's name is not UTF-8")?;
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let object = assembler::assemble(&text).with_context(|| format!("in {}", path.display()))?;
    Ok(Program { name: name.to_owned(), object })
}

#[cfg(test)]
mod tests;
