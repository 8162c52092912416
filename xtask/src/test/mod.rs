//! `cargo xtask test`: the host's tests, then the kernel's over a matrix of machines.
//!
//! | module | does |
//! |---|---|
//! | [`host`] | runs `cargo test`, and retells it in one format |
//! | [`suite`] | names a set of tests, as cargo does and as this tool does |
//! | [`builds`] | lists the builds: usual, checked, under model checkers, under ThreadSanitizer |
//! | [`case`] | describes a kernel test: a machine, commands, and the output that they must give |
//! | [`cases`] | has the tests themselves, a file for each subject |
//! | [`lines`] | makes random command lines for one of them |
//! | [`disk`] | makes the RAM disk of some of them |
//! | [`guest`] | boots the machines, two at a time |
//! | [`tool`] | runs this tool itself: exit status, pipes, the terminal |
//! | [`counting`], [`studying`] | do the same for its counts, and for the study |
//! | [`report`] | prints one line for each test, the console of those that fail, and the count |
//!
//! A test's name begins with `host/`, `kernel/` or `tool/`; `--filter` takes any part of it.

pub(crate) mod builds;
mod case;
mod cases;
mod counting;
pub(crate) mod disk;
mod expect;
mod guest;
mod host;
mod lines;
mod report;
mod studying;
mod suite;
mod tool;

use std::process::ExitCode;

use anyhow::Result;

use self::builds::Builds;
use self::case::{Case, Length};
use self::report::Report;
use crate::cli::{BuildOptions, TestOptions};

/// Runs `cargo xtask test`.
pub(crate) fn command(options: &TestOptions) -> Result<ExitCode> {
    let filter = options.filter.as_deref().unwrap_or("");
    if options.tsan {
        return sanitized(options, filter);
    }
    let seed = lines::seed()?;
    let mut all = if options.kasan { cases::with_kasan(seed) } else { cases::all(seed) };
    if options.irqsoff {
        all.splice(0..0, cases::with_irqsoff());
    }
    let is_wanted =
        |case: &Case| case.name.contains(filter) && (options.soak || case.length == Length::Seconds);
    let cases: Vec<Case> = all.into_iter().filter(is_wanted).collect();
    // No host test has a name with these, so the host's tests need not even be built. Neither they nor the tool's
    // change with the kernel's build.
    let host_may_match = !options.kasan && !filter.contains("kernel/") && !filter.contains("tool/");
    let tools = if options.kasan { Vec::new() } else { tool::list(filter) };

    if options.list {
        let mut names = if host_may_match { host::list(Builds::Ordinary, filter)? } else { Vec::new() };
        if host_may_match && options.soak {
            names.extend(host::list(Builds::Soaks, filter)?);
        }
        names.extend(cases.into_iter().map(|case| case.name).chain(tools));
        return Ok(print_list(&names, filter));
    }

    let mut report = Report::default();
    if host_may_match {
        host::run(Builds::Ordinary, filter, &mut report)?;
        if options.soak {
            host::run(Builds::Soaks, filter, &mut report)?;
        }
    }
    if !cases.is_empty() || !tools.is_empty() {
        let build =
            BuildOptions { kasan: options.kasan, irqsoff: options.irqsoff, ..BuildOptions::default() };
        guest::run(cases, &build, &mut report)?;
        if !options.kasan {
            tool::run(filter, &mut report);
        }
    }
    Ok(report.close(filter))
}

/// Prints the names of tests. Where there are none, says so and fails: a filter that is misspelt is no success.
fn print_list(names: &[String], filter: &str) -> ExitCode {
    names.iter().for_each(|name| println!("{name}"));
    if names.is_empty() {
        tell!("error: {}", report::no_test_has(filter));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs or lists the host's tests under ThreadSanitizer, which knows nothing of the kernel.
fn sanitized(options: &TestOptions, filter: &str) -> Result<ExitCode> {
    if options.list {
        return Ok(print_list(&host::list(Builds::Sanitized, filter)?, filter));
    }
    let mut report = Report::default();
    host::run(Builds::Sanitized, filter, &mut report)?;
    Ok(report.close(filter))
}

#[cfg(test)]
mod tests;
