//! How the kernel is instrumented for its checker of memory accesses.
//!
//! The sanitizer is asked for by *profile*, not by the flags of all crates: cargo lets a package say otherwise, and the
//! checker itself, with what it calls, must not be instrumented, or it would check itself endlessly. Both options of
//! cargo and compiler are unstable; Debian's toolchain is told that this is known (`RUSTC_BOOTSTRAP`) as for `core`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::setup::Toolchain;

/// The packages that are not instrumented: the checker and its dependencies.
const PLAIN_PACKAGES: [&str; 4] = ["core", "compiler_builtins", "rhumb-machine", "rhumb-kasan"];

/// Each check is a call, stack variables are marked by calls, addresses of the shadow are plain address / 8, copies and
/// fills go through the checker: see `crates/parts/kasan/src/outline.rs`.
const LLVM_ARGUMENTS: [&str; 5] = [
    "-asan-instrumentation-with-call-threshold=0",
    "-asan-max-inline-poisoning-size=0",
    "-asan-mapping-offset=0",
    "-asan-kernel-mem-intrinsic-prefix=1",
    "-asan-destructor-kind=none",
];

/// Adds the words and flags that build the kernel with the checker to cargo's command and the compiler's flags.
///
/// # Errors
/// The toolchain is rustup's, whose stable compiler takes no sanitizer.
pub(crate) fn instrument(
    cargo: &mut Command,
    flags: &mut Vec<String>,
    toolchain: &Toolchain,
    profile: &str,
) -> Result<()> {
    if let Toolchain::Installed = toolchain {
        bail!(
            "a kernel with KASAN takes -Zsanitizer=kernel-address, which {toolchain} does not have; Debian's packages \
             rustc-web cargo-web rust-web-src lld-22 do, and are used where rustup's target is not installed"
        );
    }
    // The plain packages are told to trust the others: this sanitizer changes no calling convention.
    flags.push("-Cunsafe-allow-abi-mismatch=sanitizer".into());
    let sanitize = format!("[\"-Zsanitizer=kernel-address\", \"-Cllvm-args={}\"]", LLVM_ARGUMENTS.join(" "));
    cargo.args(["--features", "kasan", "-Zprofile-rustflags"]);
    cargo.args(["--config", &format!("profile.{profile}.rustflags={sanitize}")]);
    // Build scripts run on the host.
    cargo.args(["--config", &format!("profile.{profile}.build-override.rustflags=[]")]);
    for package in PLAIN_PACKAGES {
        cargo.args(["--config", &format!("profile.{profile}.package.{package}.rustflags=[]")]);
    }
    Ok(())
}
