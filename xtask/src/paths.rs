//! Where things are: everything made by this tool lies under cargo's target directory.

use std::env;
use std::path::{Path, PathBuf};

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    // At run time cargo says where this package is; the compiled-in answer serves a binary that was started by hand.
    let package =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

/// Returns Cargo's target directory, as the person chose it.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |directory| root().join(directory))
}

/// Returns the target directory of the kernel's own builds. Apart from the host's, since another compiler may make it
/// and two compilers in one directory rebuild each other's work.
pub(crate) fn kernel_target() -> PathBuf {
    target().join("rhumb")
}

/// Returns the target directory of kernels with the checker of memory accesses: other flags for every crate, `core`
/// included.
pub(crate) fn kasan_target() -> PathBuf {
    target().join("rhumb-kasan")
}

/// Returns the target directory of the loadable modules: other link arguments than the kernel's.
pub(crate) fn modules_target() -> PathBuf {
    target().join("rhumb-modules")
}

/// Returns the target directory of the host's tests under ThreadSanitizer: other flags for every crate, `std` included.
pub(crate) fn tsan_target() -> PathBuf {
    target().join("rhumb-tsan")
}

/// Returns a linked kernel with its symbol table, which QEMU and GRUB load: `rhumb.elf`, or `rhumb-lab.elf` and so on
/// for kernels with more.
pub(crate) fn kernel_elf(more: &[&str]) -> PathBuf {
    let more: String = more.iter().map(|word| format!("-{word}")).collect();
    target().join(format!("rhumb{more}.elf"))
}

/// Returns `path` as a person would type it from here.
pub(crate) fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
