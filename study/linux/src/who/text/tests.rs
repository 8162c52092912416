//! The text for the terminal.

use super::super::sample::survey;
use super::*;

#[test]
fn the_text_shows_holders_map_and_limits() {
    let text = text(&survey());
    for part in [
        "SECRET MEMORY: 4.0 MiB in 2 files of 2 processes, 8 KiB touched",
        "vault",
        "ada",
        "4f1a",
        "HIBERNATION (inferred)",
        "42 splits since boot, 21.00 an hour, 1 merge; 164 KiB of page tables",
        "kfence is on",
        "guest memory: 1 GiB of vmm (9)",
        "1 BPF program, 500 B of machine code",
        "120 processes in 0.06 s; 2 of them",
        "No map by place: it is not there.",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(text.chars().all(|sign| sign == '\n' || !sign.is_control()), "a hostile name is escaped");
}

#[test]
fn a_machine_that_shows_nothing_has_a_text_as_well() {
    let mut survey = survey();
    survey.scan.holders.clear();
    survey.scan.files.clear();
    survey.map = crate::proc::counters::DirectMap::default();
    survey.modules = None;
    survey.secret = Availability::Absent;
    let text = text(&survey);
    assert!(text.contains("has it switched off"), "{text}");
    assert!(!text.contains("DIRECT MAP"), "{text}");
}
