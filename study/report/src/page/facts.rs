//! The machine, its noise, the controls, the parts that were left out, and the notes.

use maud::{Markup, html};

use crate::format::{bytes, number, page, sentence};
use crate::schema::{Control, ControlKind, Machine, Noise, Study, TlbKind};

/// Returns the controls, each with its result.
pub(super) fn controls(controls: &[Control]) -> Markup {
    html! {
        @if !controls.is_empty() {
            ul.controls {
                @for control in controls {
                    li.passed[control.passed].failed[!control.passed] {
                        b {
                            (match control.kind { ControlKind::Positive => "Positive control", ControlKind::Negative => "Negative control" })
                            (if control.passed { " passed" } else { " FAILED" })
                        }
                        " " (sentence(&control.verdict))
                    }
                }
            }
        }
    }
}

/// Returns the machine and its noise.
pub(super) fn machine(machine: &Machine, noise: Option<&Noise>) -> Markup {
    let facts = [
        // A name that is made of the CPU's says nothing more.
        ("Name", if machine.name.contains(&machine.cpu) { String::new() } else { machine.name.clone() }),
        ("CPU", machine.cpu.clone()),
        ("CPU model", machine.cpu_id.clone()),
        ("CPUs", if machine.cpus > 0 { machine.cpus.to_string() } else { String::new() }),
        ("Memory nodes", if machine.nodes > 0 { machine.nodes.to_string() } else { String::new() }),
        ("Memory", if machine.memory_bytes > 0 { bytes(machine.memory_bytes as f64) } else { String::new() }),
        ("Kernel", machine.kernel.clone()),
        ("Hypervisor", machine.virtualised.clone().unwrap_or("none".into())),
        (
            "Load before",
            machine.load.map(|load| load.map(|load| format!("{load:.2}")).join(", ")).unwrap_or_default(),
        ),
    ];
    html! {
        section #machine {
            h2 { "The machine" }
            @if let Some(noise) = noise {
                p.hopeless[noise.hopeless] {
                    b { @if noise.hopeless { "Too noisy for small effects. " } @else { "Noise before the study. " } }
                    (sentence(&noise.verdict))
                }
            }
            dl.facts { @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) { div { dt { (name) } dd { (value) } } } }
            @if !machine.tlbs.is_empty() {
                div.scroll tabindex="0" {
                    table {
                        caption { "Translation caches" }
                        thead { tr { th.num scope="col" { "level" } th scope="col" { "of" } th scope="col" { "pages" } th.num scope="col" { "entries" } th.num scope="col" { "ways" } th scope="col" { "source" } } }
                        tbody {
                            @for tlb in &machine.tlbs {
                                tr {
                                    td.num { (tlb.level) }
                                    td { (match tlb.kind { TlbKind::Data => "data", TlbKind::Loads => "loads", TlbKind::Stores => "stores", TlbKind::Code => "code", TlbKind::Shared => "both" }) }
                                    td { (tlb.page_bytes.iter().map(|size| page(Some(*size))).collect::<Vec<_>>().join(", ")) }
                                    td.num { (number(tlb.entries.into())) }
                                    td.num { (tlb.ways.map_or("full".to_owned(), |ways| ways.to_string())) }
                                    td { (tlb.source) }
                                }
                            }
                        }
                    }
                }
            }
            @for (title, pairs) in [("Settings", &machine.settings), ("Mitigations", &machine.mitigations)] {
                @if !pairs.is_empty() {
                    details { summary { (title) } dl.facts { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } } }
                }
            }
        }
    }
}

/// Returns the parts that were left out, and how to get them.
pub(super) fn omissions(study: &Study) -> Markup {
    html! {
        @if !study.omissions.is_empty() {
            section #left-out {
                h2 { "Left out" }
                ul.omissions {
                    @for omission in &study.omissions {
                        li { b { (omission.part) } p { (sentence(&omission.why)) } p.remedy { (sentence(&omission.remedy)) } }
                    }
                }
            }
        }
    }
}

/// Returns the notes.
pub(super) fn notes(notes: &[String]) -> Markup {
    html! {
        @if !notes.is_empty() {
            section #notes { h2 { "Notes" } ul { @for note in notes { li { (sentence(note)) } } } }
        }
    }
}
