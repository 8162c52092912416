//! Command lines of the kernel, and commands split.

use super::{command_line, split};

#[test]
fn splits_commands() {
    assert_eq!(split("meminfo; maps audit"), ["meminfo", "maps audit"]);
    assert_eq!(split(" ;; \n"), [""; 0]);
}

#[test]
fn splits_outside_of_quotes_only() {
    assert_eq!(split(r#"panic "a; b" ;uptime"#), [r#"panic "a; b""#, "uptime"]);
    assert_eq!(split(r#"dmesg | grep ";"; uptime"#), [r#"dmesg | grep ";""#, "uptime"]);
    // The kernel says what is wrong with such a line; the next one is another.
    assert_eq!(split("walk \"1; 2\nuptime; meminfo"), ["walk \"1; 2", "uptime", "meminfo"]);
}

#[test]
fn a_persons_words_come_last() {
    assert_eq!(command_line(true, ""), "exit_port=0xf4");
    assert_eq!(command_line(false, "mem=64M"), "exit_port=0xf4 batch loglevel=warn mem=64M");
}
