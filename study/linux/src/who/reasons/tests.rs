//! Settings of several command lines.

use super::*;

fn state(settings: &Settings, id: &str) -> State {
    reasons(settings).into_iter().find(|reason| reason.id == id).expect("a reason").state
}

#[test]
fn the_command_line_is_read() {
    let with = |line: &str| Settings {
        command_line: line.into(),
        cpu_flags: "fpu pdpe1gb".into(),
        ..Settings::default()
    };
    assert_eq!(state(&with("quiet debug_pagealloc=on"), "debug-pagealloc"), State::On);
    assert_eq!(
        state(&with("debug_pagealloc=on debug_pagealloc=off"), "debug-pagealloc"),
        State::Off,
        "the last word counts"
    );
    assert_eq!(state(&with("quiet"), "debug-pagealloc"), State::Off);
    assert_eq!(state(&with("rodata=off"), "rodata"), State::Off);
    assert_eq!(state(&with(""), "rodata"), State::On);
    assert_eq!(state(&with("nogbpages"), "no-gib-pages"), State::On);
    assert_eq!(state(&with(""), "no-gib-pages"), State::Off);
}

#[test]
fn each_file_may_be_missing() {
    let none = Settings::default();
    assert_eq!(state(&none, "kfence"), State::Off);
    assert_eq!(state(&none, "bpf-jit"), State::Unknown);
    assert_eq!(state(&none, "no-gib-pages"), State::Unknown);
    assert_eq!(state(&none, "tdx-host"), State::Off);
    let all = Settings {
        kfence_interval: Some("100\n".into()),
        sev_snp: Some("Y\n".into()),
        tdx: Some("N\n".into()),
        bpf_jit: Some("0\n".into()),
        cpu_flags: "fpu tdx_guest hypervisor".into(),
        config: Some("# CONFIG_DEBUG_PAGEALLOC is not set\nCONFIG_DEBUG_PAGEALLOC_ENABLE_DEFAULT=y\n".into()),
        ..Settings::default()
    };
    assert_eq!(state(&all, "kfence"), State::On);
    assert_eq!(state(&all, "sev-snp-host"), State::On);
    assert_eq!(state(&all, "tdx-host"), State::Off);
    assert_eq!(state(&all, "bpf-jit"), State::Off);
    assert_eq!(state(&all, "confidential-guest"), State::On);
    assert_eq!(state(&all, "no-gib-pages"), State::On);
    assert_eq!(state(&all, "debug-pagealloc"), State::On);
    let idle = Settings { kfence_interval: Some("0\n".into()), ..Settings::default() };
    assert_eq!(state(&idle, "kfence"), State::Off);
}
