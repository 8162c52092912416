//! The kernel's loadable modules: compiled, and linked each into one relocatable object, with the names of its functions.
//!
//! They are a workspace of their own, in `modules/`; each folder there but `api` is one. The kernel's flags hold for them,
//! too. The linker joins sections and leaves out those that are not used, and leaves relocations and imports to the
//! kernel's loader.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use object::build::elf::{Builder, SectionData};
use object::elf::{SHF_EXECINSTR, SHT_PROGBITS};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SymbolKind};
use rhumb_symbols::writer::{self, Input};

use crate::build::{RUST_FLAGS, watch};
use crate::host::ThisHost;
use crate::paths;
use crate::setup::{self, Need, TARGET, Toolchain};

/// The folder of what modules are written with: the one that is no module.
const API: &str = "api";
/// A module for the kernel's tests, which people do not get.
pub(crate) const PROBE: &str = "probe";
/// The section of the names, as `rhumb_modules` finds it.
const SYMBOLS: &[u8] = b".rhumb.symbols";
const BUILDING: &str = "Building the modules (the first time takes about a minute)";

/// A module that was built.
pub(crate) struct Module {
    /// The name by which it is loaded.
    pub(crate) name: String,
    /// Its file.
    pub(crate) object: Vec<u8>,
}

/// Builds all modules, in the order of their names.
///
/// # Errors
/// Something cannot be installed, or a module does not compile: the compiler's messages have been printed.
pub(crate) fn build() -> Result<Vec<Module>> {
    setup::ensure(&[Need::Core])?;
    let toolchain = Toolchain::find(&ThisHost).context("the toolchain that was just found is gone")?;
    let folder = paths::root().join("modules");
    let target = paths::modules_target();
    let mut flags: Vec<String> = RUST_FLAGS.map(String::from).into();
    flags.extend(toolchain.linker().map(|linker| format!("-Clinker={}", linker.display())));
    flags.push("-Clink-arg=-r".into());
    flags.push(format!("-Clink-arg=-T{}", folder.join("module.ld").display()));
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--workspace", "--release", "--manifest-path"]).arg(folder.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(&target);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if !watch(cargo, BUILDING)? {
        bail!("the modules do not build");
    }
    let built = target.join(TARGET).join("release");
    names(&folder)?
        .into_iter()
        .map(|name| {
            let object =
                fs::read(built.join(&name)).with_context(|| format!("module {name} is not there"))?;
            let object = with_names(&object).with_context(|| format!("module {name} cannot be completed"))?;
            Ok(Module { name, object })
        })
        .collect()
}

/// Returns the names of all modules in `folder`, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry.context("a folder's entry cannot be read")?;
        let name = entry.file_name().into_string().ok().context("a module's name is not UTF-8")?;
        if name != API && entry.path().join("Cargo.toml").exists() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Returns the object with a table of its functions' names, which backtraces look up: places in its code, since addresses
/// are not known yet.
fn with_names(object: &[u8]) -> Result<Vec<u8>> {
    let elf = ElfFile64::<LittleEndian>::parse(object).context("not a 64-bit ELF file")?;
    let code: Vec<_> = elf
        .sections()
        .filter(|section| match section.flags() {
            object::SectionFlags::Elf { sh_flags, .. } => sh_flags.contains(SHF_EXECINSTR),
            _ => false,
        })
        .map(|section| section.index())
        .collect();
    ensure!(code.len() == 1, "{} sections with code, not the one that places are counted in", code.len());
    let functions: Vec<Input> = elf
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.section_index() == code.first().copied())
        .filter_map(|symbol| {
            let name = format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?));
            Some(Input { address: symbol.address(), size_bytes: symbol.size(), name })
        })
        .collect();
    let table = writer::encode(&functions).context("the names cannot be written as a table")?;

    let mut builder = Builder::read(object).context("the object cannot be taken apart")?;
    let section = builder.sections.add();
    section.name = SYMBOLS.into();
    section.sh_type = SHT_PROGBITS;
    section.sh_addralign = 1;
    section.data = SectionData::Data(table.into());
    let mut complete = Vec::new();
    builder.write(&mut complete).context("the object cannot be put together")?;
    Ok(complete)
}

#[cfg(test)]
mod tests;
