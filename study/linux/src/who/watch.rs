//! The survey again and again: a screen that is drawn anew, or a line each time where the output is no terminal.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use rhumb_study_system::Session;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::columns::Columns;
use super::print;
use super::rows::{Row, rows};
use super::show::{counted, cut, even_size, folded, page, plain};
use super::survey::Survey;
use crate::error::Error;

/// How often a wait looks whether the study is to end.
const SLICE: Duration = Duration::from_millis(100);

/// Events that stay on the screen.
const EVENTS: usize = 5;

/// Where surveys are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// On standard output: a screen if that is a terminal, else lines.
    Output,
    /// As lines on standard error, because something else is on standard output.
    Error,
}

/// Shows surveys until the user ends it, `rounds` are over, or the output has lost its reader. `look` takes a survey, and
/// tells whether another output has its reader still. Returns the last survey.
///
/// # Errors
/// The first error of `look`, or of the terminal.
pub(super) fn watch(
    session: &Session,
    interval: Duration,
    rounds: Option<u64>,
    place: Place,
    mut look: impl FnMut() -> Result<(Survey, bool), Error>,
) -> Result<Survey, Error> {
    let terminal = if place == Place::Output { Terminal::open() } else { None };
    let mut events = Vec::new();
    let mut last: Option<Survey> = None;
    let mut round = 0;
    loop {
        let began = Instant::now();
        let (survey, mut is_read) = look()?;
        let new = last.as_ref().map_or_else(Vec::new, |last| changes(last, &survey));
        match &terminal {
            Some(terminal) => {
                events.extend(new);
                events.drain(..events.len().saturating_sub(EVENTS));
                is_read &= terminal.draw(&survey, last.as_ref(), &events)?;
            }
            None => {
                let lines = new.join("\n") + if new.is_empty() { "" } else { "\n" };
                let text = lines + &short(&survey, last.as_ref()) + "\n";
                is_read &= match place {
                    Place::Output => print(&mut io::stdout(), &text)?,
                    Place::Error => print(&mut io::stderr(), &text)?,
                };
            }
        }
        last = Some(survey);
        round += 1;
        let is_over = !is_read || rounds.is_some_and(|rounds| round >= rounds);
        if is_over || wait(session, terminal.as_ref(), interval.saturating_sub(began.elapsed())) {
            break;
        }
    }
    drop(terminal);
    last.ok_or_else(|| Error::Measurement("nothing was seen".to_owned()))
}

/// Waits, and tells whether the user wants to end.
fn wait(session: &Session, terminal: Option<&Terminal>, time: Duration) -> bool {
    let ends = Instant::now() + time;
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        if session.is_ending() {
            return true;
        }
        if left.is_zero() {
            return false;
        }
        match terminal {
            Some(terminal) if terminal.key(left.min(SLICE)) => return true,
            Some(_) => {}
            None => std::thread::sleep(left.min(SLICE)),
        }
    }
}

/// Returns the holders that came, went or grew between two surveys.
fn changes(last: &Survey, survey: &Survey) -> Vec<String> {
    let by_pid = |survey: &Survey| -> BTreeMap<u32, Row> {
        rows(survey).into_iter().map(|row| (row.pid, row)).collect()
    };
    let (old, new) = (by_pid(last), by_pid(survey));
    let mut changes = Vec::new();
    for (pid, row) in &new {
        let command = plain(&row.command);
        match old.get(pid) {
            None => changes.push(format!("+ {command} ({pid}) holds {}", even_size(row.bytes))),
            Some(before) if before.bytes != row.bytes || before.touched_bytes != row.touched_bytes => {
                let touched = |row: &Row| row.touched_bytes.map_or_else(|| "?".to_owned(), even_size);
                changes.push(format!(
                    "~ {command} ({pid}) holds {} instead of {}, touched {} instead of {}",
                    even_size(row.bytes),
                    even_size(before.bytes),
                    touched(row),
                    touched(before),
                ));
            }
            Some(_) => {}
        }
    }
    for (pid, row) in old.iter().filter(|(pid, _)| !new.contains_key(pid)) {
        changes.push(format!("- {} ({pid}) holds nothing any more", plain(&row.command)));
    }
    changes
}

/// Returns a counter's rise since the last survey, and the rise for each second.
fn rise(now: Option<u64>, before: Option<u64>, seconds: f64) -> String {
    match (now, before) {
        (Some(now), Some(before)) if seconds > 0.0 => {
            let rise = now.saturating_sub(before);
            format!("+{rise} ({:.1}/s)", rise as f64 / seconds)
        }
        _ => "-".to_owned(),
    }
}

/// Returns the line of a survey for an output that is no terminal.
fn short(survey: &Survey, last: Option<&Survey>) -> String {
    let seconds = last.map_or(0.0, |last| survey.unix_s - last.unix_s);
    let of = |choose: fn(&Survey) -> Option<u64>| rise(choose(survey), last.and_then(choose), seconds);
    format!(
        "{:.0} 4K {} 2M→4K {} 1G→2M {} secret {} in {}, {} touched",
        survey.unix_s,
        survey.map.small.map_or_else(|| "?".to_owned(), even_size),
        of(|survey| survey.splits.level2_splits),
        of(|survey| survey.splits.level3_splits),
        even_size(survey.scan.secret_bytes()),
        counted(survey.scan.holders.len(), "process"),
        even_size(survey.scan.touched_bytes()),
    )
}

/// Returns the lines of a screen: never more than `height`, none longer than `width`.
fn screen(
    survey: &Survey,
    last: Option<&Survey>,
    events: &[String],
    (width, height): (usize, usize),
) -> Vec<String> {
    let seconds = last.map_or(0.0, |last| survey.unix_s - last.unix_s);
    let total = survey.map.total().max(1);
    let mut lines = vec![
        format!("rhumb-study linux who   {}   q quits", counted(survey.scan.processes as usize, "process")),
        String::new(),
    ];
    for (bytes, now) in survey.map.by_size() {
        let share = now as f64 / total as f64;
        let bar = width.saturating_sub(40).min(60);
        let filled = (share * bar as f64).round() as usize;
        lines.push(format!(
            "{:<6} {:>10} {:>6.2} %  {}{}",
            page(Some(bytes)),
            even_size(now),
            share * 100.0,
            "█".repeat(filled),
            "·".repeat(bar.saturating_sub(filled)),
        ));
    }
    lines.push(String::new());
    let steps = |survey: &Survey| survey.splits.by_name().map(|(_, count)| count);
    let names = ["splits 2M→4K", "splits 1G→2M", "merges 4K→2M", "merges 2M→1G"];
    for ((name, now), before) in names.into_iter().zip(steps(survey)).zip(last.map_or([None; 4], steps)) {
        let count = now.map_or_else(|| "?".to_owned(), |now| now.to_string());
        lines.push(format!("{name:<12} {count:>10}  {}", rise(now, before, seconds)));
    }
    lines.push(String::new());
    let rows = rows(survey);
    let secret = match rows.is_empty() {
        true => survey.none_seen(),
        false => format!(
            "{} in {}, {} touched{}",
            even_size(survey.scan.secret_bytes()),
            counted(survey.scan.files.len(), "file"),
            even_size(survey.scan.touched_bytes()),
            survey.unseen().map_or(String::new(), |unseen| format!("; of the processes, {unseen}")),
        ),
    };
    lines.extend(folded(&format!("secret memory: {secret}"), width, "", "  "));
    let below = folded(&survey.hibernation.sentence, width, "", "").len()
        + events.len()
        + usize::from(!events.is_empty());
    let room = height.saturating_sub(lines.len() + below + 1);
    if !rows.is_empty() && room > 0 {
        let columns = Columns::of(&rows, width);
        lines.push(columns.heading());
        let shown = if rows.len() > room { room.saturating_sub(1) } else { rows.len() };
        lines.extend(rows.iter().take(shown).map(|row| columns.line(row, survey.unix_s)));
        if rows.len() > shown {
            lines.push(format!("and {} more", rows.len() - shown));
        }
    }
    lines.extend(folded(&survey.hibernation.sentence, width, "", ""));
    if !events.is_empty() {
        lines.push(String::new());
        lines.extend(events.iter().cloned());
    }
    lines.truncate(height);
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

/// A terminal that shows a screen and takes single keys. It is as before when this goes.
struct Terminal {
    before: Option<Termios>,
}

impl Terminal {
    /// Takes the terminal; `None` where standard output is none.
    fn open() -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal());
        if let Some(before) = &before {
            let mut keys = before.clone();
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Now, &keys);
        }
        // The other screen, so that the lines before are there again afterwards, and no cursor.
        let _ = io::stdout().write_all(b"\x1b[?1049h\x1b[?25l");
        Some(Self { before })
    }

    /// Draws a screen, and tells whether the terminal is still there.
    fn draw(&self, survey: &Survey, last: Option<&Survey>, events: &[String]) -> Result<bool, Error> {
        let stdout = io::stdout();
        let (width, height) = match tcgetwinsize(&stdout) {
            Ok(window) if window.ws_col > 0 && window.ws_row > 0 => {
                (window.ws_col.into(), window.ws_row.into())
            }
            _ => (80, 24),
        };
        let lines = screen(survey, last, events, (width, height));
        let text: Vec<String> = lines.into_iter().map(|line| format!("{line}\x1b[K")).collect();
        print(&mut stdout.lock(), &format!("\x1b[H{}\x1b[J", text.join("\r\n")))
    }

    /// Waits for a key, and tells whether it was one that ends.
    fn key(&self, time: Duration) -> bool {
        let stdin = io::stdin();
        if self.before.is_none() {
            std::thread::sleep(time);
            return false;
        }
        let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        if !poll(&mut ready, Some(&time)).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let mut keys = [0; 64];
        match rustix::io::read(&stdin, &mut keys) {
            // The terminal is gone.
            Ok(0) | Err(_) => true,
            Ok(count) => keys[..count].iter().any(|key| matches!(key, b'q' | b'Q')),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut out = io::stdout();
        let _ = out.write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| out.flush());
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
