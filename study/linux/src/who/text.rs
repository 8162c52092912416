//! A survey as text for the terminal, in the manner of `ps` and `lsof`.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use super::reasons::State;
use super::rows::{Row, rows};
use super::show::{age, counted, page, plain, size};
use super::survey::{ProgramsSource, Survey};
use crate::proc::counters::at_boot;
use crate::proc::total;
use crate::secret::Availability;

/// The most holders that are listed.
const HOLDERS: usize = 200;

/// Writes a survey.
pub fn text(survey: &Survey) -> String {
    let mut out = String::new();
    holders(&mut out, survey);
    let _ = writeln!(
        out,
        "\nHIBERNATION ({})\n  {}",
        survey.hibernation.ground.word(),
        survey.hibernation.sentence
    );
    direct_map(&mut out, survey);
    others(&mut out, survey);
    limits(&mut out, survey);
    out
}

/// The heading of the holders' rows.
pub const HEADING: &str =
    "    PID   INNER USER       COMMAND            FD  MAP      SIZE   TOUCHED      AGE CONTAINER";

/// Returns a holder's line.
pub fn line(row: &Row, now_unix_s: f64) -> String {
    format!(
        "{:>7} {:>7} {:<10} {:<15} {:>5}{} {:>3} {:>9} {:>9} {:>8} {}",
        row.pid,
        row.inner_pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        super::show::cut(&plain(&row.user), 10),
        super::show::cut(&plain(&row.command), 15),
        row.descriptors,
        if row.shared_files > 0 { "s" } else { " " },
        row.mappings,
        size(row.bytes),
        row.touched_bytes.map_or_else(|| "?".to_owned(), size),
        row.since_unix_s.map_or_else(|| "?".to_owned(), |since| age(now_unix_s - since)),
        row.container.as_deref().map_or_else(|| "-".to_owned(), plain),
    )
}

fn holders(out: &mut String, survey: &Survey) {
    let rows = rows(survey);
    match (&survey.secret, rows.is_empty()) {
        (Availability::Absent, true) => {
            let _ = writeln!(out, "SECRET MEMORY\n  The kernel has none, or has it switched off.");
        }
        (_, true) => {
            let _ = writeln!(out, "SECRET MEMORY\n  No holder was seen.");
        }
        (_, false) => {
            let _ = writeln!(
                out,
                "SECRET MEMORY: {} in {} of {}, {} touched\n{HEADING}",
                size(survey.scan.secret_bytes()),
                counted(survey.scan.files.len(), "file"),
                counted(rows.len(), "process"),
                size(survey.scan.touched_bytes()),
            );
            for row in rows.iter().take(HOLDERS) {
                let _ = writeln!(out, "{}", line(row, survey.unix_s));
            }
            if rows.len() > HOLDERS {
                let _ = writeln!(out, "  and {} more (--json lists them)", rows.len() - HOLDERS);
            }
            if rows.iter().any(|row| row.shared_files > 0) {
                let _ = writeln!(out, "  s: shared with another process; the total counts each file once");
            }
        }
    }
}

fn direct_map(out: &mut String, survey: &Survey) {
    let total = survey.map.total();
    if total == 0 {
        return;
    }
    let _ = writeln!(
        out,
        "\nDIRECT MAP: {}\n  {:<8} {:>10} {:>8} {:>18}",
        size(total),
        "pages",
        "now",
        "share",
        "after boot (est.)"
    );
    let boot = at_boot(&survey.map, &survey.splits);
    for (bytes, now) in survey.map.by_size() {
        let boot = boot.as_ref().and_then(|boot| boot.by_size().find(|(other, _)| *other == bytes));
        let _ = writeln!(
            out,
            "  {:<8} {:>10} {:>6.2} % {:>18}",
            page(Some(bytes)),
            size(now),
            now as f64 * 100.0 / total as f64,
            boot.map_or_else(|| "?".to_owned(), |(_, bytes)| size(bytes)),
        );
    }
    match (survey.splits.splits(), survey.splits.table_bytes()) {
        (Some(splits), Some(tables)) => {
            let hours = survey.uptime_s.map(|up| up / 3_600.0).filter(|hours| *hours > 0.0);
            let rate = hours.map_or(String::new(), |hours| format!(", {:.2} an hour", splits as f64 / hours));
            let _ = writeln!(
                out,
                "  {} since boot{rate}, {}; {} of page tables",
                counted(splits as usize, "split"),
                counted(survey.splits.collapses() as usize, "merge"),
                size(tables)
            );
        }
        _ => {
            let _ = writeln!(out, "  this kernel does not count splits");
        }
    }
    if let Ok(listing) = &survey.picture {
        let _ = writeln!(
            out,
            "  {} stretches of one page size in the kernel's own listing",
            listing.extents.len()
        );
    }
}

fn others(out: &mut String, survey: &Survey) {
    let _ = writeln!(out, "\nOTHER HOLDERS AND SETTINGS");
    let jited = total(survey.programs.iter().filter_map(|program| program.jited_bytes));
    let of = match &survey.programs_source {
        ProgramsSource::Kernel => String::new(),
        ProgramsSource::Descriptors(_) => " with a descriptor that this user may see".to_owned(),
    };
    let code = match (&survey.programs_source, survey.areas) {
        (ProgramsSource::Kernel, Some(areas)) => {
            format!(", {} of machine code in {} of pages", size(jited), size(areas.bpf_code_bytes))
        }
        (ProgramsSource::Kernel, None) => format!(", {} of machine code", size(jited)),
        (ProgramsSource::Descriptors(_), _) => String::new(),
    };
    let _ = writeln!(out, "  {}{of}{code}", counted(survey.programs.len(), "BPF program"));
    match &survey.modules {
        Some(modules) => {
            let bytes = total(modules.iter().map(|module| module.bytes));
            let _ = writeln!(out, "  {}, {}", counted(modules.len(), "module"), size(bytes));
        }
        None => {
            let _ = writeln!(out, "  no modules, or not visible");
        }
    }
    for guest in survey.scan.guests.iter().take(20) {
        let bytes = total(guest.files.values().copied());
        let command = plain(&guest.process.command);
        let _ = writeln!(out, "  guest memory: {} of {command} ({})", size(bytes), guest.process.pid);
    }
    for reason in survey.reasons.iter().filter(|reason| reason.state == State::On) {
        let _ = writeln!(out, "  {} is on ({}): {}", reason.id, reason.source, reason.effect);
    }
}

fn limits(out: &mut String, survey: &Survey) {
    let scan = &survey.scan;
    let _ = write!(out, "\n{} processes in {:.2} s", scan.processes, survey.took.as_secs_f64());
    if scan.unreadable > 0 {
        let _ = write!(out, "; {} of them {}", scan.unreadable, unreadable());
    }
    if scan.left > 0 {
        let _ = write!(out, "; the time did not suffice for {} (--limit SECONDS)", scan.left);
    }
    if survey.hidepid.is_some() && !rustix::process::geteuid().is_root() {
        let _ = write!(out, "; /proc hides other users' processes");
    }
    let _ = writeln!(out, ".");
    if let Err(why) = &survey.picture {
        let _ = writeln!(out, "No map by place: {why}.");
    }
}

/// Returns why processes cannot be read.
fn unreadable() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "may not be read, even by root (a security module or a container's limits forbid it)"
    } else {
        "may not be read by this user (root sees all)"
    }
}
