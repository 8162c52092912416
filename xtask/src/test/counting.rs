//! `cargo xtask count` from outside: it counts what is known beforehand, and two runs agree to the digit.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths;

/// Code whose counts are known: nothing, 100 instructions, one more, a copy of 64 bytes by a string instruction.
pub(super) fn known() -> Result<()> {
    let csv = count("known", &["empty", "known", "--mem"])?;
    let counts: [(&str, &str, u64); 10] = [
        ("empty", "instructions", 0),
        ("empty", "reads", 0),
        ("known/100", "instructions", 100),
        ("known/101", "instructions", 101),
        ("known/101", "string_iterations", 0),
        ("known/string", "instructions", 4),
        ("known/string", "string_iterations", 64),
        ("known/string", "reads", 64),
        ("known/string", "writes", 64),
        ("known/string", "data_lines", 2),
    ];
    for (region, metric, wanted) in counts {
        let begin = format!("{region},1,rhumb,{metric},");
        let line = csv.lines().find(|line| line.starts_with(&begin));
        let line = line.with_context(|| format!("no line begins with {begin}:\n{csv}"))?;
        let exact = format!(",{wanted}.000,{wanted}.000,{wanted}.000");
        ensure!(line.ends_with(&exact), "{line}, which does not end with {exact}");
    }
    Ok(())
}

/// Everything twice, with two CPUs: loads, stores, lines and other CPUs' work included. The medians repeat: where two runs
/// differ, a third one agrees with one of them, because a flush on two CPUs takes one of two paths, by what the other CPU
/// did before. The least and the most of a region's runs need not repeat, nor what is a sum or a mean over all runs: QEMU
/// may change CPUs while a region is open, at a moment that depends on when the prompt's input came, and another CPU may
/// be awake then.
pub(super) fn repeats() -> Result<()> {
    let arguments = ["--cpus", "2", "--mem", "--all-cpus"];
    let (first, second) = (count("first", &arguments)?, count("second", &arguments)?);
    ensure!(first.contains("\ncalls/2,2,rhumb,instructions,"), "nothing was counted:\n{first}");
    ensure!(first.lines().count() == second.lines().count(), "one run counted more regions");
    let differing = differing(&first, &second);
    if differing.is_empty() {
        return Ok(());
    }
    let third = count("third", &arguments)?;
    let medians: Vec<String> = third.lines().filter_map(median).collect();
    let alone = differing.iter().find(|(first, second)| {
        ![first, second].iter().any(|line| median(line).is_some_and(|median| medians.contains(&median)))
    });
    ensure!(alone.is_none(), "three runs differ: {alone:?}");
    Ok(())
}

/// Returns the lines of two runs that should have the same median, and have not.
fn differing<'a>(first: &'a str, second: &'a str) -> Vec<(&'a str, &'a str)> {
    let is_sum = |line: &str| {
        [",elsewhere_work_", ",flushes,", ",remote_flushes,", ",interrupts,"]
            .iter()
            .any(|sum| line.contains(sum))
    };
    let lines = first.lines().zip(second.lines());
    lines.filter(|(first, second)| !is_sum(first) && median(first) != median(second)).collect()
}

/// Returns a line up to its median, without the least and the most.
fn median(line: &str) -> Option<String> {
    line.rsplitn(3, ',').last().map(String::from)
}

/// A region that does not exist is a sentence, not a table.
pub(super) fn unknown_region() -> Result<()> {
    let refused = |arguments: &[&str], says: &str| {
        let output = tool(arguments).output().context("the tool does not start")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{arguments:?} was accepted");
        ensure!(errors.contains(says), "on standard error: {errors}");
        Ok(())
    };
    refused(&["frobnicate"], "no region is called frobnicate")?;
    refused(&["--list", "frobnicate"], "no region is called frobnicate")?;
    refused(&["a;poweroff"], "letters, digits")
}

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap_or_default());
    command.arg("count").args(arguments);
    command
}

/// Runs the tool and returns the CSV file that it writes. Its output must hold no doubt about its own figures.
fn count(name: &str, arguments: &[&str]) -> Result<String> {
    let file: PathBuf = paths::kernel_target().join(format!("count-{name}-{}.csv", std::process::id()));
    let output = tool(arguments).arg("--csv").arg(&file).output().context("the tool does not start")?;
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{said}{errors}", output.status);
    ensure!(!said.contains("by the clock"), "plugin and clock disagree:\n{said}");
    let csv = fs::read_to_string(&file).context("no CSV file was written")?;
    // A file too many in the target directory is no reason to fail.
    let _ = fs::remove_file(&file);
    Ok(csv)
}
