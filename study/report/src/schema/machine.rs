//! The machine that a study ran on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::number;

/// The translations that a TLB caches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlbKind {
    /// Of data.
    Data,
    /// Of data that is loaded.
    Loads,
    /// Of data that is stored.
    Stores,
    /// Of code.
    Code,
    /// Of both.
    Shared,
}

/// A translation cache, as the CPU describes it or as it was measured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tlb {
    /// 1 is the nearest to the core.
    pub level: u32,
    /// The translations that it caches.
    pub kind: TlbKind,
    /// The sizes of page that share its entries, in bytes. A CPU of AMD lists each size by itself, and does not tell
    /// which of them share their entries.
    pub page_bytes: Vec<u64>,
    /// Entries.
    pub entries: u32,
    /// Entries of a set; `None` where each entry takes any page.
    pub ways: Option<u32>,
    /// Where this is known from: "CPUID leaf 18H".
    pub source: String,
}

/// The facts of a machine that may change a result.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// A name to tell machines apart by: the user's, or the CPU's. Never the host's name without the user's wish.
    pub name: String,
    /// The CPU's own name.
    pub cpu: String,
    /// Vendor, family, model and stepping.
    pub cpu_id: String,
    /// CPUs that are online.
    pub cpus: u32,
    /// Memory nodes.
    pub nodes: u32,
    /// All memory that the kernel has.
    pub memory_bytes: u64,
    /// The kernel: name and release.
    pub kernel: String,
    /// The hypervisor under the kernel; `None` on bare metal.
    pub virtualised: Option<String>,
    /// Translation caches.
    pub tlbs: Vec<Tlb>,
    /// Mitigations by vulnerability, as the kernel names them.
    pub mitigations: BTreeMap<String, String>,
    /// Settings that matter here, by name: transparent huge pages, CPU frequency governor, words of the command line.
    pub settings: BTreeMap<String, String>,
    /// Load averages over 1, 5 and 15 minutes when the study began.
    pub load: Option<[f64; 3]>,
}

/// How noisy the machine was before the study.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Noise {
    /// The spread of one fixed piece of work: from the first to the third quartile, as a share of the median.
    #[serde(deserialize_with = "number::one")]
    pub spread: f64,
    /// The share of CPU time that a hypervisor took away meanwhile, if it tells.
    pub steal: Option<f64>,
    /// Whether the machine is too noisy for small effects.
    pub hopeless: bool,
    /// One sentence: how noisy, and what follows from it.
    pub verdict: String,
}
