//! Decisions on machines that are not there.

use std::path::{Path, PathBuf};

use super::{Answer, Need, Toolchain, decide};
use crate::host::Host;

/// A machine by what it has.
#[derive(Clone, Default)]
struct Fake {
    programs: Vec<&'static str>,
    files: Vec<&'static str>,
    versions: Vec<(&'static str, &'static str, &'static str)>,
    root: bool,
    debian: bool,
    codename: Option<&'static str>,
    /// The backports were asked in vain.
    refused: bool,
    /// Where programs are, if not in `/usr/bin`.
    directory: Option<&'static str>,
}

impl Fake {
    /// rustup's stable toolchain and nothing else.
    fn fresh() -> Self {
        Self {
            programs: vec!["rustup", "rustc", "cargo"],
            versions: vec![("rustc", "--print", "/home/u/.rustup/toolchains/stable\n")],
            ..Self::default()
        }
    }

    fn debian(root: bool) -> Self {
        let mut host = Self { root, debian: true, ..Self::fresh() };
        host.programs.push("apt-get");
        host
    }

    /// Debian with its own toolchain and the source of `core`.
    fn debian_toolchain(version: &'static str) -> Self {
        let mut host = Self::debian(true);
        host.programs.push("ld.lld-22");
        host.files = vec!["/usr/bin/cargo", "/usr/lib/rustlib/src/rust/library/Cargo.lock"];
        host.versions.push(("/usr/bin/rustc", "--version", version));
        host.versions.push(("/usr/bin/rustc", "--print", "/usr\n"));
        host
    }

    fn with_program(mut self, name: &'static str) -> Self {
        self.programs.push(name);
        self
    }
}

impl Host for Fake {
    fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs.contains(&name).then(|| Path::new(self.directory.unwrap_or("/usr/bin")).join(name))
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.iter().any(|file| Path::new(file) == path)
            || self.refused && path.ends_with("no-newer-qemu")
    }

    fn is_root(&self) -> bool {
        self.root
    }

    fn is_debian(&self) -> bool {
        self.debian
    }

    fn codename(&self) -> Option<String> {
        self.codename.map(String::from)
    }

    fn output(&self, program: &Path, arguments: &[&str]) -> Option<String> {
        let found = self
            .versions
            .iter()
            .find(|(name, first, _)| Path::new(name) == program && arguments[0] == *first);
        found.map(|(_, _, text)| (*text).into())
    }
}

fn advice(host: &Fake, need: Need) -> String {
    match decide(host, need) {
        Answer::Person(text) => text,
        other => panic!("{need:?}: {other:?}"),
    }
}

#[test]
fn the_installed_target_comes_first() {
    let mut host = Fake::debian_toolchain("rustc 1.96.0 (Debian)");
    host.files.push("/home/u/.rustup/toolchains/stable/lib/rustlib/x86_64-unknown-none/lib");
    assert_eq!(Toolchain::find(&host), Some(Toolchain::Installed));
}

#[test]
fn debians_toolchain_builds_core_from_source() {
    let host = Fake::debian_toolchain("rustc 1.96.0 (ac68faa20 2026-07-06) (built from a source tarball)");
    let linker = "/usr/bin/ld.lld-22".into();
    assert_eq!(Toolchain::find(&host), Some(Toolchain::BuildStd { linker }));
    assert!(matches!(decide(&host, Need::Core), Answer::Present(_)));
}

#[test]
fn an_old_or_incomplete_debian_toolchain_does_not_do() {
    let old = Fake::debian_toolchain("rustc 1.63.0");
    let mut without_source = Fake::debian_toolchain("rustc 1.96.0");
    without_source.files.retain(|file| !file.contains("library"));
    let mut without_linker = Fake::debian_toolchain("rustc 1.96.0");
    without_linker.programs.retain(|program| !program.contains("lld"));
    for host in [old, without_source, without_linker] {
        let packages: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
        assert_eq!(decide(&host, Need::Core), Answer::Apt(packages));
    }
}

#[test]
fn root_on_debian_installs_by_itself() {
    let host = Fake::debian(true);
    for need in Need::ALL {
        assert!(matches!(decide(&host, need), Answer::Apt(packages) if !packages.is_empty()), "{need:?}");
    }
}

#[test]
fn elsewhere_rustup_brings_the_target() {
    assert_eq!(decide(&Fake::fresh(), Need::Core), Answer::Rustup);
    assert_eq!(decide(&Fake::debian(false), Need::Core), Answer::Rustup);
}

#[test]
fn without_rights_the_exact_command_is_named() {
    let host = Fake::debian(false);
    let command = "sudo apt-get update && sudo apt-get install --no-install-recommends qemu-system-x86";
    assert_eq!(advice(&host, Need::Qemu), command);
    assert_eq!(
        advice(&Fake::fresh().with_program("dnf"), Need::Qemu),
        "sudo dnf install qemu-system-x86-core"
    );
    assert_eq!(advice(&Fake::fresh().with_program("pacman"), Need::Ovmf), "sudo pacman -S edk2-ovmf");
    assert!(advice(&Fake::fresh(), Need::Qemu).contains("QEMU"));
    assert!(advice(&Fake::default(), Need::Core).contains("rustup target add x86_64-unknown-none"));
}

#[test]
fn a_qemu_without_plugins_is_for_a_person_to_replace() {
    let mut host = Fake::debian(true);
    assert!(matches!(decide(&host, Need::Plugins), Answer::Apt(_)), "no QEMU");
    host.programs.push("qemu-system-x86_64");
    host.versions.push(("/usr/bin/qemu-system-x86_64", "-help", "-smp N\n  see also -plugin \n"));
    assert!(advice(&host, Need::Plugins).contains("without plugins"));
    host.versions.pop();
    host.versions.push(("/usr/bin/qemu-system-x86_64", "-help", "-smp N\n-plugin [file=]<file>\n"));
    assert_eq!(decide(&host, Need::Plugins), Answer::Present("/usr/bin/qemu-system-x86_64".into()));
}

#[test]
fn image_tools_count_only_when_complete() {
    let mut host =
        Fake::debian(true).with_program("grub-mkrescue").with_program("xorriso").with_program("mformat");
    host.files = vec!["/usr/lib/grub/i386-pc"];
    assert!(matches!(decide(&host, Need::ImageTools), Answer::Apt(_)), "no UEFI modules");
    host.files.push("/usr/lib/grub/x86_64-efi");
    assert_eq!(decide(&host, Need::ImageTools), Answer::Present("/usr/bin/grub-mkrescue".into()));
}

#[test]
fn compilers_count_only_when_complete() {
    let host = Fake::debian(false).with_program("cc").with_program("make");
    assert!(advice(&host, Need::NativeCompilers).ends_with("build-essential"), "no compiler for C++");
    let host = host.with_program("c++");
    assert_eq!(decide(&host, Need::NativeCompilers), Answer::Present("/usr/bin/c++".into()));
}

#[test]
fn the_newest_runtime_of_the_sanitizer_counts_where_the_library_can_be_built() {
    let runtimes = [
        "/usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.tsan-x86_64.a",
        "/usr/lib/llvm-22/lib/clang/22/lib/linux/libclang_rt.tsan-x86_64.a",
    ];
    let mut host = Fake::debian_toolchain("rustc 1.96.0");
    let packages: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "libclang-rt-22-dev"];
    assert_eq!(decide(&host, Need::ThreadSanitizer), Answer::Apt(packages), "no runtime");
    host.files.extend(runtimes);
    assert_eq!(decide(&host, Need::ThreadSanitizer), Answer::Present(runtimes[1].into()));
    host.files.retain(|file| !file.contains("library"));
    assert_eq!(decide(&host, Need::ThreadSanitizer), Answer::Apt(packages), "no source of the library");
    assert!(advice(&Fake::fresh(), Need::ThreadSanitizer).contains("libclang-rt-22-dev"));
}

/// Debian 12 with its own QEMU of this version, or with none.
fn bookworm(version: Option<&'static str>) -> Fake {
    let mut host = Fake { codename: Some("bookworm"), ..Fake::debian(true) };
    if let Some(version) = version {
        host.programs.push("qemu-system-x86_64");
        host.versions.push(("/usr/bin/qemu-system-x86_64", "--version", version));
    }
    host
}

#[test]
fn debian_12_takes_a_newer_qemu_from_its_backports() {
    let backports = Answer::Backports(&["qemu-system-x86"]);
    for host in [bookworm(None), bookworm(Some("QEMU emulator version 7.2.22 (Debian)"))] {
        assert_eq!(decide(&host, Need::Qemu), backports);
        assert_eq!(decide(&host, Need::Plugins), backports);
    }
}

#[test]
fn a_qemu_that_is_new_enough_or_is_not_ours_to_replace_stays() {
    let old = || bookworm(Some("QEMU emulator version 7.2.22 (Debian)"));
    let present = Answer::Present("/usr/bin/qemu-system-x86_64".into());
    let newer = bookworm(Some("QEMU emulator version 10.0.2 (Debian)"));
    let other_release = Fake { codename: Some("trixie"), ..old() };
    let not_root = Fake { root: false, ..old() };
    let mut refused = old();
    refused.refused = true;
    for host in [newer, other_release, not_root, refused] {
        assert_eq!(decide(&host, Need::Qemu), present);
    }
    let mut elsewhere = old();
    elsewhere.directory = Some("/opt/bin");
    elsewhere.versions.push(("/opt/bin/qemu-system-x86_64", "--version", "QEMU emulator version 7.2.22"));
    assert_eq!(decide(&elsewhere, Need::Qemu), Answer::Present("/opt/bin/qemu-system-x86_64".into()));
}

#[test]
fn without_backports_the_releases_qemu_does() {
    let refused = Fake { refused: true, ..bookworm(None) };
    assert_eq!(decide(&refused, Need::Qemu), Answer::Apt(&["qemu-system-x86"]));
}
