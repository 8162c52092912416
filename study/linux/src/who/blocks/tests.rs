//! Verdicts: known or inferred, with and without each file.

use super::*;

fn power(disk: Option<&str>, state: Option<&str>, command_line: &str) -> Power {
    Power {
        disk: disk.map(ToOwned::to_owned),
        state: state.map(ToOwned::to_owned),
        lockdown: None,
        command_line: command_line.to_owned(),
        release: "6.12.3-arch1".to_owned(),
    }
}

const ABLE: &str = "[platform] shutdown reboot suspend test_resume\n";

#[test]
fn a_holder_is_the_reason_where_no_other_is_visible() {
    let verdict = judge(&power(Some("[disabled]\n"), Some("freeze mem\n"), "quiet"), 1, true);
    assert_eq!((verdict.hibernation, verdict.by_secret_memory), (Hibernation::Refused, Some(true)));
    assert_eq!(verdict.ground, Ground::Inferred);
    assert!(verdict.sentence.contains("1 process holds"), "{}", verdict.sentence);
}

#[test]
fn a_machine_that_can_hibernate_has_no_holder_at_all() {
    let verdict = judge(&power(Some(ABLE), Some("freeze mem disk\n"), ""), 0, false);
    assert_eq!((verdict.hibernation, verdict.by_secret_memory), (Hibernation::Possible, Some(false)));
    assert_eq!(verdict.ground, Ground::Known);
}

#[test]
fn other_reasons_are_named() {
    let verdict = judge(&power(Some("[disabled]"), Some("mem"), "quiet nohibernate"), 0, true);
    assert_eq!(verdict.by_secret_memory, None);
    assert!(verdict.sentence.contains("nohibernate"), "{}", verdict.sentence);
    let locked = Power {
        lockdown: Some("none [integrity] confidentiality\n".into()),
        ..power(Some("[disabled]"), None, "")
    };
    assert!(judge(&locked, 3, true).sentence.contains("locked down"));
    let open = Power {
        lockdown: Some("[none] integrity confidentiality\n".into()),
        ..power(Some("[disabled]"), None, "")
    };
    assert!(!judge(&open, 3, true).sentence.contains("locked down"));
}

#[test]
fn an_unseen_holder_is_only_suspected() {
    let refused = power(Some("[disabled]"), Some("freeze mem"), "");
    assert!(judge(&refused, 0, false).sentence.contains("root sees all"));
    assert!(judge(&refused, 0, true).sentence.contains("in flight"));
    assert_eq!(judge(&refused, 0, true).by_secret_memory, None);
}

#[test]
fn a_kernel_without_hibernation_blocks_nothing() {
    let verdict = judge(&power(None, Some("freeze mem"), ""), 5, true);
    assert_eq!((verdict.hibernation, verdict.by_secret_memory), (Hibernation::NotBuilt, Some(false)));
    assert_eq!(judge(&power(None, None, ""), 5, true).hibernation, Hibernation::Unknown);
}

#[test]
fn the_rule_began_with_5_14() {
    let old = Power { release: "5.10.0-32-amd64".into(), ..power(Some("[disabled]"), Some("mem"), "") };
    assert_eq!(judge(&old, 1, true).by_secret_memory, None);
    assert_eq!(version("6.18.1"), Some((6, 18)));
    assert_eq!(version("5.10.0-32-amd64"), Some((5, 10)));
    assert_eq!(version("six"), None);
}
