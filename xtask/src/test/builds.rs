//! In which builds the host's tests run: the usual one; single packages with every check or under a model checker; and
//! apart from these, what CPUs share under ThreadSanitizer.

use std::env;
use std::process::Command;

use anyhow::Result;

use super::suite::Suite;
use crate::tsan;

/// Which builds to test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Builds {
    /// The usual one, and those with checks and model checkers.
    Ordinary,
    /// The one under ThreadSanitizer.
    Sanitized,
    /// The tests that take minutes, which the others leave out.
    Soaks,
}

impl Builds {
    /// Returns the builds that `filter` asks for.
    pub(super) fn chosen(self, filter: &str) -> Vec<&'static Build> {
        match self {
            Self::Ordinary => {
                [&USUAL].into_iter().chain(&OTHERS).filter(|build| build.is_wanted(filter)).collect()
            }
            Self::Sanitized => vec![&SANITIZED],
            Self::Soaks => SOAKS.iter().collect(),
        }
    }
}

/// A build of the host's tests: the usual one, or some packages in another way.
#[derive(Debug)]
pub(super) struct Build {
    /// Its last word is what test names have behind the package; empty in the usual build.
    pub(super) name: &'static str,
    /// The packages; none for all.
    packages: &'static [&'static str],
    /// Which of their tests, in cargo's words; empty for all.
    targets: &'static str,
    /// The features that are on; empty for those that are on by default.
    features: &'static str,
    /// Whether the features are on, too, that are on by default.
    default_features: bool,
    compiler: Compiler,
    /// Runs the tests that are marked as ignored, and no other.
    pub(super) only_ignored: bool,
}

/// The compiler of a build.
#[derive(Clone, Copy, Debug)]
enum Compiler {
    /// The compiler of this tool, with these flags.
    Ours(&'static str),
    /// The compiler that instruments for ThreadSanitizer.
    ThreadSanitizer,
}

pub(super) const USUAL: Build = Build {
    name: "",
    packages: &[],
    targets: "",
    features: "",
    default_features: true,
    compiler: Compiler::Ours(""),
    only_ignored: false,
};

/// The flags of the build that counts the data that CPUs share.
pub(crate) const COUNTED: &str = "--cfg rhumb_counted";

/// The others: optimised, since checks and model checkers multiply the work.
const OTHERS: [Build; 20] = [
    featured("frames-checked", &["rhumb-frames"], "checked"),
    modelled("frames-loom", &["rhumb-frames"], "--cfg loom"),
    modelled("frames-shuttle", &["rhumb-frames"], "--cfg shuttle"),
    featured("slab-checked", &["rhumb-slab"], "checked"),
    modelled("slab-loom", &["rhumb-slab"], "--cfg loom"),
    modelled("slab-shuttle", &["rhumb-slab"], "--cfg shuttle"),
    modelled("kernelmap-loom", &["rhumb-kernelmap"], "--cfg loom"),
    modelled("kernelmap-shuttle", &["rhumb-kernelmap"], "--cfg shuttle"),
    modelled("vm-shuttle", &["rhumb-vm"], "--cfg shuttle"),
    modelled("pagetable-loom", &["rhumb-pagetable"], "--cfg loom"),
    modelled("pagetable-shuttle", &["rhumb-pagetable"], "--cfg shuttle"),
    modelled("klog-loom", &["rhumb-klog"], "--cfg loom"),
    modelled("smp-loom", &["rhumb-smp"], "--cfg loom"),
    modelled("sync-loom", &["rhumb-sync"], "--cfg loom"),
    modelled("sched-loom", &["rhumb-sched"], "--cfg loom"),
    modelled("sched-shuttle", &["rhumb-sched"], "--cfg shuttle"),
    modelled("sched-counted", &["rhumb-sched"], COUNTED),
    modelled("sync-counted", &["rhumb-sync"], COUNTED),
    // CPUs in turns, the data that they share being counted.
    Build {
        targets: "--bins",
        default_features: false,
        ..modelled("bench-counted", &["rhumb-bench"], COUNTED)
    },
    // As the benchmarks have it: tokens are not compared, and no handler strikes.
    Build { targets: "--tests", default_features: false, ..featured("hosted-bare", &["rhumb-hosted"], "") },
];

/// The packages whose tests run code on several CPUs at once. Those of `rhumb-directmap` run it on one at a time, for
/// minutes here; the tests of `rhumb-unmapped` run the same code on several.
const SANITIZED: Build = Build {
    targets: "--tests",
    compiler: Compiler::ThreadSanitizer,
    ..featured(
        "tsan",
        &[
            "rhumb-machine",
            "rhumb-sync",
            "rhumb-sched",
            "rhumb-hosted",
            "rhumb-frames",
            "rhumb-slab",
            "rhumb-kernelmap",
            "rhumb-pageable",
            "rhumb-vm",
            "rhumb-pagetable",
            "rhumb-windows",
            "rhumb-tableguard",
            "rhumb-unmapped",
            "rhumb-smp",
            "rhumb-klog",
        ],
        "",
    )
};

/// Longer histories of the direct map; more random BPF programs and damaged modules.
static SOAKS: [Build; 2] = [
    Build { targets: "--test=histories", only_ignored: true, ..featured("soak", &["rhumb-directmap"], "") },
    Build { only_ignored: true, ..featured("soak", &["rhumb-bpf", "rhumb-modules"], "") },
];

/// Returns the packages that have models for this checker, `loom` or `shuttle`.
pub(crate) fn packages_for(checker: &str) -> Vec<&'static str> {
    let of_checker = OTHERS.iter().filter(|build| build.word() == checker);
    of_checker.flat_map(|build| build.packages).copied().collect()
}

const fn featured(name: &'static str, packages: &'static [&'static str], features: &'static str) -> Build {
    Build { name, packages, targets: "--lib", features, ..USUAL }
}

/// Returns the packages with a model checker's atomics, which `flags` select.
const fn modelled(name: &'static str, packages: &'static [&'static str], flags: &'static str) -> Build {
    Build { compiler: Compiler::Ours(flags), ..featured(name, packages, "") }
}

impl Build {
    /// Returns the word for how it is built.
    fn word(&self) -> &'static str {
        self.name.rsplit('-').next().unwrap_or("")
    }

    /// Returns the full name of the test `path` in `suite`.
    pub(super) fn full_name(&self, suite: &Suite, path: &str) -> String {
        suite.full_name(self.word(), path)
    }

    /// Cargo's arguments for all tests of the build.
    pub(super) fn selection(&self) -> Vec<String> {
        let packages = self.packages.iter().flat_map(|package| ["--package", package]);
        packages.chain([self.targets]).filter(|word| !word.is_empty()).map(String::from).collect()
    }

    /// Returns the start of a cargo command that tests this build.
    pub(super) fn cargo_test(&self) -> Result<Command> {
        let mut command = match self.compiler {
            Compiler::Ours(flags) => {
                let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                command.arg("test");
                if !flags.is_empty() {
                    command.env("RUSTFLAGS", flags);
                }
                command
            }
            Compiler::ThreadSanitizer => tsan::cargo_test()?,
        };
        if !self.name.is_empty() {
            command.arg("--release");
        }
        if !self.default_features {
            command.arg("--no-default-features");
        }
        if !self.features.is_empty() {
            command.args(["--features", self.features]);
        }
        Ok(command)
    }

    /// Tells whether `filter` asks for this build. The other builds take minutes to make on a busy machine: it must
    /// hold their word (`loom`, say), unless it takes all there is.
    fn is_wanted(&self, filter: &str) -> bool {
        filter.is_empty() || "host/".contains(filter) || filter.contains(self.word())
    }
}

#[cfg(test)]
mod tests;
