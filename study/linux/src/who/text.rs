//! A survey as text for the terminal, in the manner of `ps` and `lsof`.

#[cfg(test)]
mod tests;

use super::columns::Columns;
use super::reasons::State;
use super::rows::rows;
use super::show::{self, counted, even_size, folded, plain};
use super::survey::{ProgramsSource, Survey};
use crate::proc::counters::at_boot;
use crate::proc::total;
use crate::secret::Availability;

/// The most holders that are listed.
const HOLDERS: usize = 200;

/// The most processes with guest memory that are listed.
const GUESTS: usize = 20;

/// A text whose sentences are folded.
struct Page {
    text: String,
    width: usize,
}

impl Page {
    /// Adds a line as it is.
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Adds a sentence, in as many lines as it takes.
    fn say(&mut self, sentence: &str) {
        folded(sentence, self.width, "  ", "    ").iter().for_each(|line| self.line(line));
    }

    /// Adds a heading after an empty line.
    fn head(&mut self, heading: &str) {
        if !self.text.is_empty() {
            self.line("");
        }
        folded(heading, self.width, "", "  ").iter().for_each(|line| self.line(line));
    }
}

/// Writes a survey in lines of at most `width` columns. A row of the holders has as many columns as fit.
pub(super) fn text(survey: &Survey, width: usize) -> String {
    let mut page = Page { text: String::new(), width };
    holders(&mut page, survey);
    page.head(&format!("HIBERNATION ({})", survey.hibernation.ground.word()));
    page.say(&survey.hibernation.sentence);
    direct_map(&mut page, survey);
    others(&mut page, survey);
    limits(&mut page, survey);
    page.text
}

fn holders(page: &mut Page, survey: &Survey) {
    let rows = rows(survey);
    if rows.is_empty() {
        page.head("SECRET MEMORY");
        match survey.secret {
            Availability::Absent => page.say("The kernel has none, or has it switched off."),
            _ => page.say(&survey.none_seen()),
        }
        return;
    }
    page.head(&format!(
        "SECRET MEMORY: {} in {} of {}, {} touched",
        even_size(survey.scan.secret_bytes()),
        counted(survey.scan.files.len(), "file"),
        counted(rows.len(), "process"),
        even_size(survey.scan.touched_bytes()),
    ));
    let columns = Columns::of(&rows, page.width);
    page.line(&columns.heading());
    rows.iter().take(HOLDERS).for_each(|row| page.line(&columns.line(row, survey.unix_s)));
    if rows.len() > HOLDERS {
        page.say(&format!("and {} more (--json lists them)", rows.len() - HOLDERS));
    }
    page.say(&columns.legend(&rows));
    if let Some(unseen) = survey.unseen() {
        page.say(&format!("Of {}, {unseen}.", counted(survey.scan.processes as usize, "process")));
    }
}

fn direct_map(page: &mut Page, survey: &Survey) {
    let total = survey.map.total();
    if total == 0 {
        return;
    }
    page.head(&format!("DIRECT MAP: {}", even_size(total)));
    page.line(&format!("  {:<8} {:>10} {:>8} {:>18}", "pages", "now", "share", "after boot (est.)"));
    let boot = at_boot(&survey.map, &survey.splits);
    for (bytes, now) in survey.map.by_size() {
        let boot = boot.as_ref().and_then(|boot| boot.by_size().find(|(other, _)| *other == bytes));
        page.line(&format!(
            "  {:<8} {:>10} {:>6.2} % {:>18}",
            show::page(Some(bytes)),
            even_size(now),
            now as f64 * 100.0 / total as f64,
            boot.map_or_else(|| "?".to_owned(), |(_, bytes)| even_size(bytes)),
        ));
    }
    if let Some(memory) = survey.memory_bytes.filter(|memory| *memory < total) {
        page.say(&format!(
            "MemTotal is {}: the map's counters include holes and device ranges that Linux maps, and MemTotal leaves out \
             memory that firmware and the kernel itself took at boot.",
            even_size(memory)
        ));
    }
    match (survey.splits.splits(), survey.splits.table_bytes()) {
        (Some(splits), Some(tables)) => {
            let hours = survey.uptime_s.map(|up| up / 3_600.0).filter(|hours| *hours > 0.0);
            let rate = hours.map_or(String::new(), |hours| format!(", {:.2} an hour", splits as f64 / hours));
            page.say(&format!(
                "{} since boot{rate}, {}; {} of page tables",
                counted(splits as usize, "split"),
                counted(survey.splits.collapses() as usize, "merge"),
                even_size(tables)
            ));
        }
        _ => page.say("this kernel does not count splits"),
    }
    if let Ok(listing) = &survey.picture {
        page.say(&format!(
            "{} of one page size in the kernel's own listing",
            counted(listing.extents.len(), "stretch")
        ));
    }
}

fn others(page: &mut Page, survey: &Survey) {
    page.head("OTHER HOLDERS AND SETTINGS");
    let jited = total(survey.programs.iter().filter_map(|program| program.jited_bytes));
    let programs = counted(survey.programs.len(), "BPF program");
    page.say(&match (&survey.programs_source, survey.areas) {
        (ProgramsSource::Kernel, Some(areas)) => {
            format!(
                "{programs}, {} of machine code in {} of pages",
                even_size(jited),
                even_size(areas.bpf_code_bytes)
            )
        }
        (ProgramsSource::Kernel, None) => format!("{programs}, {} of machine code", even_size(jited)),
        (ProgramsSource::Beginning, _) => {
            format!(
                "{programs} or more: the time did not suffice for the kernel's whole list (--limit SECONDS)"
            )
        }
        (ProgramsSource::Descriptors(_), _) => format!("{programs} with a descriptor that this user may see"),
    });
    match &survey.modules {
        Some(modules) => {
            let bytes = total(modules.iter().map(|module| module.bytes));
            page.say(&format!("{}, {}", counted(modules.len(), "module"), even_size(bytes)));
        }
        None => page.say("no modules, or not visible"),
    }
    for guest in survey.scan.guests.iter().take(GUESTS) {
        let bytes = total(guest.files.values().copied());
        let command = plain(&guest.process.command);
        page.say(&format!("guest memory: {} of {command} ({})", even_size(bytes), guest.process.pid));
    }
    if survey.scan.guests.len() > GUESTS {
        page.say(&format!("and guest memory of {} more", survey.scan.guests.len() - GUESTS));
    }
    for reason in survey.reasons.iter().filter(|reason| reason.state == State::On) {
        page.say(&format!("{} is on ({}). {}", reason.id, reason.source, reason.effect));
    }
}

fn limits(page: &mut Page, survey: &Survey) {
    let mut text = format!(
        "{} in {:.2} s",
        counted(survey.scan.processes as usize, "process"),
        survey.took.as_secs_f64()
    );
    if let Some(unseen) = survey.unseen() {
        text = format!("{text}; {unseen}");
    }
    page.head(&format!("{text}."));
    if let Err(why) = &survey.picture {
        page.say(&format!("No map by place: {why}."));
    }
}
