//! How the host's tests are instrumented for ThreadSanitizer, which finds data races between their threads.
//!
//! The standard library is built from its source with the same flags: its locks, threads and channels order memory
//! accesses, and a library without instrumentation would order them unseen. Sanitizers and the rebuilt library are
//! unstable options, which Debian's toolchain takes (`RUSTC_BOOTSTRAP`) as for the kernel. Debian's compiler comes
//! without the sanitizer's runtime, so LLVM's own is linked.

use std::process::Command;

use anyhow::{Context, Result};

use crate::host::ThisHost;
use crate::paths;
use crate::setup::{self, Need};

/// Named so that cargo tells build scripts and procedural macros, which are not instrumented, from the rest.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The configuration that a crate under test can ask for, and `rustix`'s word for calling the C library, whose `mmap`
/// and `munmap` the sanitizer follows, in place of the kernel.
const CONDITIONS: [&str; 2] = ["rhumb_tsan", "rustix_use_libc"];

/// Returns the start of a `cargo test` command that instruments; installs the compiler that this takes.
///
/// # Errors
/// Something cannot be installed.
pub(crate) fn cargo_test() -> Result<Command> {
    setup::ensure(&[Need::ThreadSanitizer])?;
    let runtime = setup::thread_sanitizer(&ThisHost).context("the sanitizer that was just found is gone")?;
    let mut flags: Vec<String> = ["-Zsanitizer=thread", "-Zexternal-clangrt"].map(String::from).into();
    flags.extend(CONDITIONS.iter().flat_map(|condition| ["--cfg", condition]).map(String::from));
    // Before the libraries that the runtime calls, and whole: the program itself refers to little of it.
    flags.extend(
        ["-Wl,--whole-archive", &runtime.display().to_string(), "-Wl,--no-whole-archive"]
            .map(|argument| format!("-Zpre-link-arg={argument}")),
    );

    let mut command = setup::system_cargo();
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    command.args(["test", "--target", TARGET, "-Zbuild-std", "--target-dir"]).arg(paths::tsan_target());
    // A handler of `rhumb-hosted`'s storms may use the heap: it holds back while its CPU has interrupts off, as it has
    // wherever the code that is interrupted uses the heap. The sanitizer would take that for a handler of any signal.
    command.env("TSAN_OPTIONS", "report_signal_unsafe=0");
    // Reports name lines.
    command.args(["--config", "profile.release.debug='line-tables-only'"]);
    Ok(command)
}
