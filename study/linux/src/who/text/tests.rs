//! The text for the terminal.

use super::super::sample::survey;
use super::*;

#[test]
fn the_text_shows_holders_map_and_limits() {
    let text = text(&survey(), 100);
    for part in [
        "SECRET MEMORY: 4.0 MiB in 2 files of 2 processes, 8.0 KiB touched",
        "vault",
        "ada",
        "4f1a",
        "HIBERNATION (inferred)",
        "42 splits since boot, 21.00 an hour, 1 merge; 164.0 KiB of page tables",
        "kfence is on (/sys/module/kfence/parameters/sample_interval). KFENCE",
        "MemTotal is 22.0 GiB",
        "Of 120 processes, 2 are hidden",
        "guest memory: 1.0 GiB of vmm (9)",
        "1 BPF program, 500 B of machine code",
        "120 processes in 0.06 s; 2 are hidden",
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
    let text = text(&survey, 100);
    assert!(text.contains("has it switched off"), "{text}");
    assert!(!text.contains("DIRECT MAP"), "{text}");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [60, 80, 100] {
        let text = text(&survey(), width);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn hidden_processes_are_told_where_no_holder_was_seen() {
    let mut survey = survey();
    survey.scan.holders.clear();
    survey.scan.files.clear();
    (survey.scan.processes, survey.scan.unreadable) = (124, 123);
    let first = text(&survey, 200).lines().nth(1).map(ToOwned::to_owned).unwrap_or_default();
    assert!(
        first.starts_with("  No holder among the 1 process that this user may read; 123 are hidden: run "),
        "{first}"
    );
    survey.scan.unreadable = 0;
    assert!(text(&survey, 200).contains("No holder among all 124 processes."));
}

#[test]
fn a_part_of_the_kernels_list_is_called_that() {
    let mut survey = survey();
    survey.programs_source = ProgramsSource::Beginning;
    let text = text(&survey, 200);
    assert!(text.contains("1 BPF program or more: the time"), "{text}");
    assert!(!text.contains("descriptor that this user"), "{text}");
}
