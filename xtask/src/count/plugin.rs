//! The counting plugin: built for this machine, and how QEMU is told of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::{build, paths};

const PACKAGE: &str = "rhumb-count-plugin";
const LIBRARY: &str = "librhumb_count_plugin.so";

/// Builds the plugin and says where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Named, whatever cargo's configuration says, so that the library is where it is looked for.
    cargo.args(["build", "--release", "--package", PACKAGE, "--target-dir"]).arg(paths::target());
    if !build::watch(cargo, "Building the counting plugin")? {
        bail!("the counting plugin does not build");
    }
    let library = paths::target().join("release").join(LIBRARY);
    ensure!(
        library.is_file(),
        "{} is not there: does cargo build for another target than this machine?",
        library.display()
    );
    Ok(library)
}

/// QEMU's arguments that load it.
pub(super) fn arguments(library: &Path, report: &Path, memory: bool) -> [String; 2] {
    // A comma in a file's name would end the option's value.
    let quoted = |path: &Path| path.display().to_string().replace(',', ",,");
    let memory = if memory { "on" } else { "off" };
    ["-plugin".into(), format!("file={},out={},memory={memory}", quoted(library), quoted(report))]
}

#[cfg(test)]
mod tests;
