//! `cargo xtask run`: the kernel in QEMU, at a prompt on a terminal or through commands from elsewhere.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::RunOptions;
use crate::console::{Ending, Event, Feed, HOW_TO_LEAVE, Session, Stop};
use crate::host::{Host, ThisHost, available_bytes};
use crate::machine::OnReset;
use crate::qemu::{self, EXIT_PORT, Files};
use crate::setup::{self, Need, Version};
use crate::terminal::RawTerminal;
use crate::{build, paths, ram_disk};

/// As `timeout(1)` has it.
const EXIT_TIMED_OUT: u8 = 124;
/// As shells have it for a process that a signal ended.
const EXIT_SIGNAL: u8 = 128;
/// As a process has it that wrote to a closed pipe.
const EXIT_UNHEARD: u8 = EXIT_SIGNAL + 13;

/// A kernel boots within a second or two; one that has not asked for commands after this long deserves a word.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `cargo xtask run`.
pub(crate) fn command(options: &RunOptions) -> Result<ExitCode> {
    let mut machine = options.machine()?;
    ram_disk::check(options.ram_disk.as_deref())?;
    setup::ensure(&[Need::Core, Need::Qemu])?;
    if let Some(lack) = qemu::lack(&machine, "", Version::of(&ThisHost)) {
        bail!("{lack}");
    }
    if let Some(excess) = qemu::excess(&machine, available_bytes()) {
        bail!("{excess}");
    }
    let kernel = build::kernel(&options.build, options.contents())?;
    let feed = match &options.exec {
        Some(commands) => Feed::Commands(split(commands)),
        None if stdin().is_terminal() => Feed::Keys,
        None => Feed::Pipe,
    };
    let interactive = matches!(feed, Feed::Keys);
    if interactive {
        machine.on_reset = OnReset::Restart;
    }
    let ram_disk = ram_disk::chosen(options.ram_disk.as_deref())?;
    let files = Files { kernel: &kernel, ram_disk: ram_disk.as_deref(), iso: Path::new(""), ovmf: None };
    let arguments = qemu::arguments(&machine, &files, &command_line(interactive, &options.append));

    if interactive {
        tell!("{HOW_TO_LEAVE}");
    }
    let terminal = if interactive { RawTerminal::enter()? } else { None };
    let session = Session::start(program(arguments)?, feed)?.with_patience(PATIENCE);
    forward_signals(session.sender())?;
    let (ending, messages) = session.finish(options.timeout, &mut |bytes| show(bytes, interactive))?;
    drop(terminal);

    if interactive {
        println!();
    }
    if !messages.is_empty() && !matches!(ending, Ending::Lost(_)) {
        eprint!("{messages}");
    }
    Ok(report(&ending))
}

/// Returns QEMU's command with these arguments.
///
/// # Errors
/// It is not installed.
pub(crate) fn program(arguments: Vec<String>) -> Result<Command> {
    let mut qemu =
        Command::new(ThisHost.program(setup::QEMU).with_context(|| format!("{} is not found", setup::QEMU))?);
    qemu.args(arguments).current_dir(paths::root());
    Ok(qemu)
}

/// Returns the kernel's command line: ours first, so that a person's words win.
pub(crate) fn command_line(interactive: bool, append: &str) -> String {
    let ours = if interactive { "" } else { " batch loglevel=warn" };
    format!("exit_port={EXIT_PORT:#x}{ours} {append}").trim_end().to_string()
}

/// Returns the commands of `--exec`: separated by `;` outside of quotes, as at the prompt, and by line ends, which end
/// a quote, too.
pub(crate) fn split(commands: &str) -> Vec<String> {
    let mut is_quoted = false;
    commands
        .split(|character| {
            is_quoted = character != '\n' && is_quoted != (character == '"');
            character == '\n' || character == ';' && !is_quoted
        })
        .map(str::trim)
        .filter(|command| !command.is_empty())
        .map(String::from)
        .collect()
}

/// Shows the guest's output as it comes. Off a terminal its carriage returns would only disturb.
fn show(bytes: &[u8], interactive: bool) -> std::io::Result<()> {
    let mut out = stdout().lock();
    if interactive {
        out.write_all(bytes)?;
    } else {
        let plain: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != b'\r').collect();
        out.write_all(&plain)?;
    }
    out.flush()
}

/// Turns the signals that end a process into events, so that the terminal is restored and QEMU ended first.
fn forward_signals(events: Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be caught")?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Stop(Stop::Signal(signal))).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Says on standard error how the machine ended, unless all is well, and gives the exit status for it.
fn report(ending: &Ending) -> ExitCode {
    let status = match ending {
        Ending::Succeeded | Ending::Stopped(Stop::Quit) => return ExitCode::SUCCESS,
        Ending::Stopped(Stop::Signal(signal)) => return ExitCode::from(EXIT_SIGNAL + *signal as u8),
        Ending::Unheard => return ExitCode::from(EXIT_UNHEARD),
        Ending::TimedOut(_) => EXIT_TIMED_OUT,
        Ending::CommandFailed | Ending::Panicked | Ending::Refused | Ending::Unreported | Ending::Lost(_) => {
            1
        }
    };
    tell!("error: {}", ending.describe());
    ExitCode::from(status)
}

#[cfg(test)]
mod tests;
