use clap::Parser;

use super::*;
use crate::cli::{Cli, Command as CliCommand};

fn boots(line: &str) -> bool {
    boots_the_kernel(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
}

#[test]
fn the_kernel_is_built_only_where_it_is_booted() {
    assert!(boots("kernel"));
    assert!(boots("kernel --quick --out DIR"));
    assert!(boots("--quick --out DIR kernel"));
    for other in [
        "",
        "hosted --quick",
        "linux who",
        "kernel --help",
        "kernel -h",
        "help kernel",
        "--help kernel",
        "--out kernel hosted",
    ] {
        assert!(!boots(other), "{other}");
    }
    assert!(!boots("kernel --kernel other.elf --plugin other.so"));
    assert!(!boots("kernel --kernel=other.elf"));
}

#[test]
fn every_argument_is_the_studys() {
    let arguments = |line: &str| match Cli::parse_from(format!("xtask {line}").split_whitespace()).command {
        CliCommand::Study(options) => options.arguments.join(" "),
        other => panic!("{other:?}"),
    };
    for line in ["", "--help", "help", "kernel --quick -h", "linux who --watch", "hosted -- x"] {
        assert_eq!(arguments(&format!("study {line}")), line);
    }
}
