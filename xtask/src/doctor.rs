//! `cargo xtask doctor`: what is there, what is missing, and what would be done about it.

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Result;

use crate::host::ThisHost;
use crate::setup::{self, Answer, Need, Version};

/// Prints one line for each need. Changes nothing; fails where a person must act.
pub(crate) fn command() -> Result<ExitCode> {
    let mut status = ExitCode::SUCCESS;
    let mut out = stdout().lock();
    for need in Need::ALL {
        let (mark, text) = match setup::decide(&ThisHost, need) {
            Answer::Present(place) if need == Need::Qemu => ("ok", format!("{place}, {}", qemu_version())),
            Answer::Present(place) => ("ok", place),
            Answer::Backports(packages) => (
                "later",
                format!(
                    "when needed: apt-get install {} from backports; now {}",
                    packages.join(" "),
                    qemu_version()
                ),
            ),
            Answer::Apt(packages) => {
                ("later", format!("when needed: apt-get install {}", packages.join(" ")))
            }
            Answer::Rustup => ("later", format!("when needed: rustup target add {}", setup::TARGET)),
            Answer::Person(command) => {
                status = ExitCode::FAILURE;
                ("missing", format!("please run: {command}"))
            }
        };
        writeln!(out, "{mark:<8}{:<30}{:<32}{text}", need.name(), need.purpose())?;
    }
    Ok(status)
}

/// Prints the version of QEMU that is used, and the features that it cannot test.
fn qemu_version() -> String {
    match Version::of(&ThisHost) {
        None => "none".into(),
        Some(version) => match version.lacks() {
            None => format!("version {version}"),
            Some(lacks) => format!("version {version}, which {lacks}"),
        },
    }
}
