//! Facts in which the machines differ, because one of them may be the reason.

use std::collections::BTreeSet;

use crate::format::bytes;
use crate::schema::{Machine, Study};

/// A fact that is not the same on all machines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Its name.
    pub fact: String,
    /// Its values, by machine; empty where it is not known.
    pub values: Vec<String>,
}

/// Returns the facts that differ: hardware first, then the kernel and its settings.
pub(super) fn of(studies: &[Study]) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut look = |fact: &str, of: &dyn Fn(&Study) -> String| {
        let values: Vec<String> = studies.iter().map(of).collect();
        if values.iter().any(|value| *value != values[0]) {
            found.push(Difference { fact: fact.to_owned(), values });
        }
    };
    look("CPU", &|study| study.machine.cpu.clone());
    look("CPU model", &|study| study.machine.cpu_id.clone());
    look("CPUs", &|study| study.machine.cpus.to_string());
    look("memory nodes", &|study| study.machine.nodes.to_string());
    // Two machines of the same modules differ by what their firmware takes.
    look("memory", &|study| {
        bytes((study.machine.memory_bytes as f64 / (1u64 << 30) as f64).round() * (1u64 << 30) as f64)
    });
    look("translation caches", &|study| caches(&study.machine));
    look("hypervisor", &|study| study.machine.virtualised.clone().unwrap_or("none".into()));
    look("kernel", &|study| study.machine.kernel.clone());
    for (title, pick) in [
        (
            "setting",
            (|machine| &machine.settings) as fn(&Machine) -> &std::collections::BTreeMap<String, String>,
        ),
        ("mitigation", |machine| &machine.mitigations),
    ] {
        let names: BTreeSet<&String> = studies.iter().flat_map(|study| pick(&study.machine).keys()).collect();
        for name in names {
            look(&format!("{title}: {name}"), &|study| {
                pick(&study.machine).get(name).cloned().unwrap_or_default()
            });
        }
    }
    look("program", &|study| study.program.clone());
    found
}

/// Returns the translation caches in a line.
fn caches(machine: &Machine) -> String {
    let one = |tlb: &crate::Tlb| {
        let pages: Vec<String> = tlb.page_bytes.iter().map(|size| bytes(*size as f64)).collect();
        format!("L{} {:?} {} ({})", tlb.level, tlb.kind, tlb.entries, pages.join(", ")).to_lowercase()
    };
    machine.tlbs.iter().map(one).collect::<Vec<_>>().join("; ")
}
