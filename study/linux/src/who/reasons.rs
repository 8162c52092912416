//! Settings that break the direct map, or may do so: of the kernel's command line, and of `/sys`.

#[cfg(test)]
mod tests;

use crate::proc::Root;

/// Whether a setting is in effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It is.
    On,
    /// It is not.
    Off,
    /// The system does not tell.
    Unknown,
}

impl State {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Unknown => "not known",
        }
    }
}

/// A setting that breaks the direct map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// A name that is the same on every machine.
    pub id: &'static str,
    /// Whether it is in effect.
    pub state: State,
    /// Its effect on the map, in one sentence.
    pub effect: &'static str,
    /// Where the state is known from.
    pub source: String,
}

/// Texts from which the reasons follow; `None` where a file is missing or unreadable.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Settings {
    /// `/proc/cmdline`.
    pub command_line: String,
    /// The kernel's configuration, if the kernel shows it, or `/boot` has it.
    pub config: Option<String>,
    /// `/sys/module/kfence/parameters/sample_interval`.
    pub kfence_interval: Option<String>,
    /// `/sys/module/kvm_amd/parameters/sev_snp`.
    pub sev_snp: Option<String>,
    /// `/sys/module/kvm_intel/parameters/tdx`.
    pub tdx: Option<String>,
    /// `/proc/sys/net/core/bpf_jit_enable`.
    pub bpf_jit: Option<String>,
    /// The flags of `/proc/cpuinfo`'s first CPU.
    pub cpu_flags: String,
}

impl Settings {
    /// Reads the texts.
    pub(super) fn read(root: &Root) -> Self {
        let release = root.proc("sys/kernel/osrelease").unwrap_or_default();
        // Only the first CPU's lines are looked at: with many CPUs the file takes longer than all else.
        let cpu_flags = first_flags(&root.proc.join("cpuinfo")).unwrap_or_default();
        Self {
            command_line: root.proc("cmdline").unwrap_or_default(),
            config: crate::proc::read(format!("/boot/config-{}", release.trim()).as_ref()).ok(),
            kfence_interval: root.sys("module/kfence/parameters/sample_interval").ok(),
            sev_snp: root.sys("module/kvm_amd/parameters/sev_snp").ok(),
            tdx: root.sys("module/kvm_intel/parameters/tdx").ok(),
            bpf_jit: root.proc("sys/net/core/bpf_jit_enable").ok(),
            cpu_flags,
        }
    }

    /// Returns the value of a word of the command line; an empty one for a word without a value.
    fn word(&self, name: &str) -> Option<&str> {
        self.command_line.split_whitespace().rev().find_map(|word| {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            (key == name).then_some(value)
        })
    }

    fn is_built(&self, option: &str) -> Option<bool> {
        let config = self.config.as_ref()?;
        Some(config.lines().any(|line| line.strip_prefix(option).is_some_and(|rest| rest.starts_with("=y"))))
    }
}

fn first_flags(path: &std::path::Path) -> Option<String> {
    use std::io::BufRead;
    let file = std::io::BufReader::new(std::fs::File::open(path).ok()?);
    file.lines().take(64).map_while(Result::ok).find_map(|line| {
        line.strip_prefix("flags")?.split_once(':').map(|(_, flags)| flags.trim().to_owned())
    })
}

/// Lists the settings that break the map, or may do so, with their states.
pub(super) fn reasons(settings: &Settings) -> Vec<Reason> {
    let reason = |id, state, effect, source: &str| Reason { id, state, effect, source: source.to_owned() };
    vec![
        debug_pagealloc(settings),
        match settings.kfence_interval.as_deref().map(str::trim) {
            Some("0") => {
                reason("kfence", State::Off, KFENCE, "/sys/module/kfence/parameters/sample_interval is 0")
            }
            Some(_) => reason("kfence", State::On, KFENCE, "/sys/module/kfence/parameters/sample_interval"),
            None => reason("kfence", State::Off, KFENCE, "no /sys/module/kfence"),
        },
        match settings.word("rodata") {
            Some("off") => reason("rodata", State::Off, RODATA, "rodata=off on the command line"),
            Some("full") => reason("rodata", State::On, RODATA, "rodata=full on the command line"),
            _ => reason("rodata", State::On, RODATA, "the kernel's default"),
        },
        no_gib_pages(settings),
        match settings.bpf_jit.as_deref().map(str::trim) {
            Some("0") => reason("bpf-jit", State::Off, BPF_JIT, "/proc/sys/net/core/bpf_jit_enable is 0"),
            Some(_) => reason("bpf-jit", State::On, BPF_JIT, "/proc/sys/net/core/bpf_jit_enable"),
            None => match settings.is_built("CONFIG_BPF_JIT_ALWAYS_ON") {
                Some(true) => reason("bpf-jit", State::On, BPF_JIT, "CONFIG_BPF_JIT_ALWAYS_ON"),
                _ => reason("bpf-jit", State::Unknown, BPF_JIT, "no /proc/sys/net/core/bpf_jit_enable"),
            },
        },
        guest("sev-snp-host", &settings.sev_snp, "/sys/module/kvm_amd/parameters/sev_snp"),
        guest("tdx-host", &settings.tdx, "/sys/module/kvm_intel/parameters/tdx"),
        if settings
            .cpu_flags
            .split(' ')
            .any(|flag| flag == "tdx_guest" || flag == "sev" && settings.cpu_flags.contains("hypervisor"))
        {
            reason("confidential-guest", State::On, CONFIDENTIAL, "flags of /proc/cpuinfo")
        } else {
            reason("confidential-guest", State::Off, CONFIDENTIAL, "flags of /proc/cpuinfo")
        },
    ]
}

const KFENCE: &str =
    "KFENCE's pool, 2 MiB by default, is mapped by pages of 4 KiB, and its pages leave the map and return.";
const RODATA: &str =
    "The kernel's code and constants are protected in the direct map, too: large pages at their edges split.";
const GIB: &str = "Without pages of 1 GiB the map begins with pages of 2 MiB: 512 times as many.";
const BPF_JIT: &str = "Compiled BPF programs are read-only and executable: before Linux 5.18 each could split a page, since then they share.";
const CONFIDENTIAL: &str =
    "A confidential guest shares pages with its host one by one, and each change may split a page.";
const DEBUG: &str = "Free pages leave the map, so the whole map is in pages of 4 KiB.";
const GUESTS: &str = "Memory of confidential guests leaves the host's map or changes its state there.";

fn debug_pagealloc(settings: &Settings) -> Reason {
    let reason = |state, source: &str| Reason {
        id: "debug-pagealloc",
        state,
        effect: DEBUG,
        source: source.to_owned(),
    };
    match (settings.word("debug_pagealloc"), settings.is_built("CONFIG_DEBUG_PAGEALLOC_ENABLE_DEFAULT")) {
        (Some("on" | "1" | ""), _) => reason(State::On, "debug_pagealloc on the command line"),
        (Some(_), _) => reason(State::Off, "debug_pagealloc on the command line"),
        (None, Some(true)) => reason(State::On, "CONFIG_DEBUG_PAGEALLOC_ENABLE_DEFAULT"),
        (None, Some(false)) => reason(State::Off, "the kernel's configuration"),
        (None, None) => reason(State::Off, "not on the command line; the configuration is not readable"),
    }
}

fn no_gib_pages(settings: &Settings) -> Reason {
    let reason =
        |state, source: &str| Reason { id: "no-gib-pages", state, effect: GIB, source: source.to_owned() };
    if settings.word("nogbpages").is_some() {
        return reason(State::On, "nogbpages on the command line");
    }
    match settings.cpu_flags.is_empty() {
        true => reason(State::Unknown, "no flags in /proc/cpuinfo"),
        false if settings.cpu_flags.split(' ').any(|flag| flag == "pdpe1gb") => {
            reason(State::Off, "the CPU has pdpe1gb")
        }
        false => reason(State::On, "the CPU lacks pdpe1gb"),
    }
}

fn guest(id: &'static str, text: &Option<String>, source: &str) -> Reason {
    let state = match text.as_deref().map(str::trim) {
        Some("Y" | "1") => State::On,
        _ => State::Off,
    };
    let source = if text.is_some() { source.to_owned() } else { format!("no {source}") };
    Reason { id, state, effect: GUESTS, source }
}
