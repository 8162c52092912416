//! A survey in the text format OpenMetrics 1.0, of which a collector that knows Prometheus' text format 0.0.4 alone, such
//! as the textfile collector of `node_exporter`, reads the same samples: the last line is a comment there, and counters
//! have no type, because the two formats give it to different names. The names of the metrics are in the
//! crate's README and stay.
//!
//! A fleet pays for each label's value, so holders are added up by command, user and container, and all but the largest
//! `HOLDERS` are one more.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::blocks::Hibernation;
use super::print;
use super::rows::rows;
use super::survey::{ProgramsSource, Survey};
use crate::error::Error;
use crate::proc::counters::{GIB_1, KIB_4, MIB_2, MIB_4};
use crate::proc::total;
use crate::secret::Availability;

/// The most groups of holders that are named.
const HOLDERS: usize = 20;

/// A page of metrics that is being written.
struct Page(String);

impl Page {
    /// Begins a metric.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes a sample; labels' values are [`escaped`] already. A value that is not known is left out.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: Option<f64>) {
        let Some(value) = value else { return };
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// Writes a gauge of one sample.
    fn gauge(&mut self, name: &str, help: &str, value: Option<f64>) {
        if value.is_some() {
            self.metric(name, "gauge", help);
            self.sample(name, &[], value);
        }
    }
}

/// Returns a label's value as the format wants it: backslash, quote and end of line escaped, other control signs replaced.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for sign in value.chars() {
        match sign {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            sign if sign.is_control() => escaped.push('\u{fffd}'),
            sign => escaped.push(sign),
        }
    }
    escaped
}

fn flag(value: bool) -> Option<f64> {
    Some(f64::from(u8::from(value)))
}

/// Writes a survey as metrics.
pub(super) fn metrics(survey: &Survey) -> String {
    let mut page = Page(String::new());
    map(&mut page, survey);
    secret(&mut page, survey);
    others(&mut page, survey);
    page.0.push_str("# EOF\n");
    page.0
}

fn map(page: &mut Page, survey: &Survey) {
    if survey.map.total() > 0 {
        page.metric("rhumb_direct_map_bytes", "gauge", "Bytes of the kernel's direct map, by page size.");
        for (size, bytes) in survey.map.by_size() {
            let name = match size {
                KIB_4 => "4k",
                MIB_2 => "2m",
                MIB_4 => "4m",
                GIB_1 => "1g",
                _ => continue,
            };
            page.sample("rhumb_direct_map_bytes", &[("page", name)], Some(bytes as f64));
        }
    }
    let splits = &survey.splits;
    let counters = [
        (
            "rhumb_direct_map_splits_total",
            "Large pages of the direct map split since boot, by level.",
            [("2", splits.level2_splits), ("3", splits.level3_splits)],
        ),
        (
            "rhumb_direct_map_collapses_total",
            "Pages of the direct map merged since boot, by level.",
            [("2", splits.level2_collapses), ("3", splits.level3_collapses)],
        ),
    ];
    for (name, help, levels) in counters {
        if levels.iter().any(|(_, count)| count.is_some()) {
            // No type: OpenMetrics names a counter's type without `_total`, and the older format with it.
            let _ = writeln!(page.0, "# HELP {name} {help}");
            for (level, count) in levels {
                page.sample(name, &[("level", level)], count.map(|count| count as f64));
            }
        }
    }
}

fn secret(page: &mut Page, survey: &Survey) {
    let scan = &survey.scan;
    let available = matches!(survey.secret, Availability::Available { .. });
    page.gauge("rhumb_secret_memory_available", "Whether a program can have secret memory.", flag(available));
    let rows = rows(survey);
    let gauges: [(&str, &str, f64); 5] = [
        ("rhumb_secret_memory_holders", "Visible processes that hold secret memory.", rows.len() as f64),
        (
            "rhumb_secret_memory_files",
            "Files of secret memory of visible processes.",
            scan.files.len() as f64,
        ),
        (
            "rhumb_secret_memory_descriptors",
            "Descriptors of secret memory in visible processes.",
            total(rows.iter().map(|row| row.descriptors.into())) as f64,
        ),
        (
            "rhumb_secret_memory_size_bytes",
            "Size of visible secret memory, each file once.",
            scan.secret_bytes() as f64,
        ),
        (
            "rhumb_secret_memory_touched_bytes",
            "Touched bytes of visible secret memory, at least.",
            scan.touched_bytes() as f64,
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, Some(value));
    }
    let mut groups: BTreeMap<[String; 3], u64> = BTreeMap::new();
    for row in &rows {
        // Names are told apart by what is written of them: two lines with the same labels make the page invalid.
        let group = [&row.command, &row.user, row.container.as_deref().unwrap_or_default()].map(escaped);
        let bytes = groups.entry(group).or_default();
        *bytes = bytes.saturating_add(row.bytes);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    if !groups.is_empty() {
        let name = "rhumb_secret_memory_holder_bytes";
        page.metric(
            name,
            "gauge",
            "Size of the secret memory that visible processes of one name hold; shared files count for each.",
        );
        for ([command, user, container], bytes) in groups.iter().take(HOLDERS) {
            let labels = [("command", &**command), ("user", user), ("container", container)];
            page.sample(name, &labels, Some(*bytes as f64));
        }
        let rest = total(groups.iter().skip(HOLDERS).map(|(_, bytes)| *bytes));
        if groups.len() > HOLDERS {
            // A command's name has at most 15 bytes, so that no command has this one.
            let labels = [("command", "(all other holders)"), ("user", ""), ("container", "")];
            page.sample(name, &labels, Some(rest as f64));
        }
    }
    let possible = match survey.hibernation.hibernation {
        Hibernation::Possible => Some(true),
        Hibernation::Refused | Hibernation::NotBuilt => Some(false),
        Hibernation::Unknown => None,
    };
    page.gauge(
        "rhumb_hibernation_possible",
        "Whether the kernel would hibernate now.",
        possible.and_then(flag),
    );
    page.gauge(
        "rhumb_hibernation_blocked_by_secret_memory",
        "Whether secret memory keeps the kernel from hibernating; missing where that is open.",
        survey.hibernation.by_secret_memory.and_then(flag),
    );
}

fn others(page: &mut Page, survey: &Survey) {
    let scan = &survey.scan;
    page.gauge(
        "rhumb_bpf_programs",
        "BPF programs that are loaded and visible.",
        Some(survey.programs.len() as f64),
    );
    if survey.programs_source == ProgramsSource::Kernel {
        let bytes = total(survey.programs.iter().filter_map(|program| program.jited_bytes));
        page.gauge(
            "rhumb_bpf_machine_code_bytes",
            "Bytes of machine code of BPF programs.",
            Some(bytes as f64),
        );
    }
    let pages = survey.areas.map(|areas| areas.bpf_code_bytes as f64);
    page.gauge(
        "rhumb_bpf_machine_code_page_bytes",
        "Bytes of the pages of machine code of BPF programs.",
        pages,
    );
    let modules = survey.modules.as_ref();
    page.gauge("rhumb_modules", "Loaded kernel modules.", modules.map(|modules| modules.len() as f64));
    let bytes = modules.map(|modules| total(modules.iter().map(|module| module.bytes)) as f64);
    page.gauge("rhumb_modules_bytes", "Memory of loaded kernel modules.", bytes);
    // Several processes may hold one file.
    let files: BTreeMap<_, u64> =
        scan.guests.iter().flat_map(|guest| &guest.files).map(|(id, bytes)| (*id, *bytes)).collect();
    let guests = total(files.into_values());
    page.gauge(
        "rhumb_guest_memory_bytes",
        "Size of the files of guest memory of visible processes.",
        Some(guests as f64),
    );
    page.gauge("rhumb_who_processes", "Processes that the search found.", Some(scan.processes.into()));
    page.gauge(
        "rhumb_who_processes_unreadable",
        "Processes that may not be read, so that their holdings are not visible.",
        Some(scan.unreadable.into()),
    );
    page.gauge(
        "rhumb_who_processes_left",
        "Processes that the time did not suffice for.",
        Some(scan.left.into()),
    );
    page.gauge("rhumb_who_seconds", "Duration of the search.", Some(survey.took.as_secs_f64()));
    page.gauge(
        "rhumb_who_time_seconds",
        "When the search ended, in seconds since 1970.",
        Some(survey.unix_s),
    );
}

/// Writes a text to a file so that a reader sees the old text or the new one, and nothing between; to standard output
/// for the name `-`. Everyone may read the file, because a collector has a user of its own. Tells whether standard output
/// still has a reader.
///
/// # Errors
/// [`Error::Unwritable`]; the old text is still there.
pub(super) fn write(text: &str, path: &Path) -> Result<bool, Error> {
    if path == Path::new("-") {
        return print(&mut io::stdout(), text);
    }
    replace(text, path).map_err(|why| Error::unwritable(path.display(), why))?;
    Ok(true)
}

/// Writes a file beside `path` and gives it that name once all of it is on the disk.
fn replace(text: &str, path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        // Root would replace `/dev/null` for all.
        Ok(old) if !old.is_file() => {
            return Err(io::Error::other("it is a link, a folder or a device, and only a file is replaced"));
        }
        _ => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The name is random, and a file or link of that name is never opened: others may write into the folder, and this
    // may be root. Collectors take files by the end of their names, which this one has not.
    let mut file = tempfile::Builder::new().prefix(".rhumb-").suffix(".new").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    // Set on the file itself, whatever mask root has.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
