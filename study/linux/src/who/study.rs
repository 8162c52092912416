//! A survey as a study: tables whose names stay, the map, and the parts that are missing.

#[cfg(test)]
mod tests;

use rhumb_study_report::{Cell, Column, Extent, MemoryMap, Omission, Study, Table};

use super::rows::{rows, user};
use super::show::{counted, even_size, page};
use super::survey::{ProgramsSource, Survey};
use crate::proc::counters::{DirectMap, at_boot};
use crate::proc::kernel::kind_name;
use crate::proc::total;
use crate::secret::Availability;

/// The most rows of tables whose length the machine decides.
const ROWS: usize = 1_000;

/// Puts a survey into a study.
pub(crate) fn fill(study: &mut Study, survey: &Survey) {
    study.tables.extend([
        holders(survey),
        direct_map(survey),
        splits(survey),
        blocks(survey),
        programs(survey),
        modules(survey),
        guests(survey),
        reasons(survey),
    ]);
    study.maps.push(map(survey, "now"));
    study.omissions.extend(omissions(survey));
    study.notes.extend(notes(survey));
}

fn table(
    id: &str,
    title: &str,
    columns: &[(&str, &str)],
    rows: Vec<Vec<Cell>>,
    caption: impl Into<String>,
) -> Table {
    Table {
        id: id.to_owned(),
        title: title.to_owned(),
        columns: Column::list(columns),
        rows: rows.into_iter().take(ROWS).collect(),
        caption: caption.into(),
    }
}

fn text(words: impl Into<String>) -> Cell {
    Cell::Text(words.into())
}

fn number(value: Option<impl Into<f64>>) -> Cell {
    value.map_or(Cell::Unknown(()), |value| Cell::Number(value.into()))
}

fn bytes(value: Option<u64>) -> Cell {
    number(value.map(|value| value as f64))
}

fn holders(survey: &Survey) -> Table {
    let scan = &survey.scan;
    let rows = rows(survey).into_iter().map(|row| {
        vec![
            Cell::Number(row.pid.into()),
            number(row.inner_pid),
            text(row.user),
            text(row.command),
            row.container.map_or(Cell::Unknown(()), text),
            Cell::Number(row.descriptors.into()),
            Cell::Number(row.mappings.into()),
            Cell::Number(row.files.into()),
            Cell::Number(row.shared_files.into()),
            Cell::Number(row.bytes as f64),
            bytes(row.touched_bytes),
            number(row.since_unix_s),
        ]
    });
    let caption = match scan.holders.is_empty() {
        true => survey.none_seen(),
        false => format!(
            "{} of secret memory in {}, {} of it touched; a file that several processes hold counts once.{}",
            even_size(scan.secret_bytes()),
            counted(scan.files.len(), "file"),
            even_size(scan.touched_bytes()),
            survey.unseen().map_or(String::new(), |unseen| format!(" Of the processes, {unseen}.")),
        ),
    };
    let columns = [
        ("process", ""),
        ("inside its name space", ""),
        ("user", ""),
        ("command", ""),
        ("container", ""),
        ("descriptors", ""),
        ("mappings", ""),
        ("files", ""),
        ("of them shared", ""),
        ("size", "bytes"),
        ("touched", "bytes"),
        ("since", "s since 1970"),
    ];
    table("holders", "Holders of secret memory", &columns, rows.collect(), caption)
}

/// Returns the table of the map by page size.
pub(crate) fn direct_map(survey: &Survey) -> Table {
    let total = survey.map.total();
    let boot = at_boot(&survey.map, &survey.splits);
    let at_boot = |size| {
        boot.as_ref()
            .and_then(|boot| boot.by_size().find(|(other, _)| *other == size))
            .map(|(_, bytes)| bytes)
    };
    let rows = survey.map.by_size().map(|(size, now)| {
        let share = (total > 0).then(|| now as f64 / total as f64);
        vec![text(page(Some(size))), bytes(Some(now)), number(share), bytes(at_boot(size))]
    });
    let columns =
        [("pages of", ""), ("now", "bytes"), ("share", "share"), ("as boot left it, estimated", "bytes")];
    let caption = "The estimate takes back each split and merge since boot, so boot itself broke what it shows in small pages.";
    table("direct-map", "The direct map by page size", &columns, rows.collect(), caption)
}

fn splits(survey: &Survey) -> Table {
    let rows = survey.splits.by_name().into_iter().map(|(name, count)| {
        let rate =
            count.zip(survey.uptime_s.filter(|up| *up > 0.0)).map(|(count, up)| count as f64 / up * 3_600.0);
        vec![text(name), bytes(count), number(rate)]
    });
    let columns = [("counter", ""), ("since boot", ""), ("for each hour since boot", "")];
    let caption = match survey.splits.table_bytes() {
        Some(bytes) => format!("Splits that no merge took back cost {} of page tables.", even_size(bytes)),
        None => "This kernel does not count splits.".to_owned(),
    };
    table("splits", "Splits and merges of the direct map", &columns, rows.collect(), caption)
}

fn blocks(survey: &Survey) -> Table {
    let verdict = &survey.hibernation;
    let secret = match &survey.secret {
        Availability::Available { .. } => "A program can have secret memory here.".to_owned(),
        Availability::Absent => ABSENT.to_owned(),
        Availability::Refused(why) => format!("This process may not have secret memory: {why}."),
    };
    let by = |by: Option<bool>| text(by.map_or("open", |by| if by { "yes" } else { "no" }));
    let rows = vec![
        vec![
            text("hibernation"),
            text(&verdict.sentence),
            by(verdict.by_secret_memory),
            text(verdict.ground.word()),
        ],
        vec![text("secret memory"), text(secret), Cell::Unknown(()), text("known")],
    ];
    let columns = [("subject", ""), ("state", ""), ("by secret memory", ""), ("ground", "")];
    table(
        "blocks",
        "Effects of the holders",
        &columns,
        rows,
        "Known: the kernel says so. Inferred: it follows from its rules.",
    )
}

const ABSENT: &str = "No program can have secret memory: the kernel lacks it or has it switched off.";

fn programs(survey: &Survey) -> Table {
    let mut programs: Vec<_> = survey.programs.iter().collect();
    programs.sort_by_key(|program| (std::cmp::Reverse(program.jited_bytes), program.id));
    let rows = programs.into_iter().map(|program| {
        let holders = survey.scan.programs.get(&program.id).map(|held| {
            let mut names: Vec<String> =
                held.holders.iter().take(8).map(|(pid, name)| format!("{name} ({pid})")).collect();
            if held.holders.len() > names.len() {
                names.push(format!("and {} more", held.holders.len() - names.len()));
            }
            names.join(", ")
        });
        vec![
            Cell::Number(program.id.into()),
            program.kind.map_or(Cell::Unknown(()), |kind| text(kind_name(kind))),
            program.name.clone().map_or(Cell::Unknown(()), text),
            bytes(program.jited_bytes),
            bytes(program.memlock_bytes),
            holders.map_or(Cell::Unknown(()), text),
        ]
    });
    let source = match &survey.programs_source {
        ProgramsSource::Kernel => "from the kernel's own list".to_owned(),
        ProgramsSource::Beginning => {
            "the beginning of the kernel's own list, because the time did not suffice for all of it"
                .to_owned()
        }
        ProgramsSource::Descriptors(why) => format!("those that processes hold ({why})"),
    };
    let areas = survey.areas.map_or(String::new(), |areas| {
        format!(" Pages of their machine code: {}.", even_size(areas.bpf_code_bytes))
    });
    let caption = format!("{}, {source}.{areas}", counted(survey.programs.len(), "program"));
    let columns = [
        ("number", ""),
        ("type", ""),
        ("name", ""),
        ("machine code", "bytes"),
        ("charged", "bytes"),
        ("holders", ""),
    ];
    table("bpf", "BPF programs", &columns, rows.collect(), caption)
}

fn modules(survey: &Survey) -> Table {
    let mut modules: Vec<_> = survey.modules.iter().flatten().collect();
    modules.sort_by_key(|module| (std::cmp::Reverse(module.bytes), &module.name));
    let caption = match &survey.modules {
        None => "This kernel loads no modules, or does not tell.".to_owned(),
        Some(modules) => {
            let all = total(modules.iter().map(|module| module.bytes));
            format!(
                "{}, {} together. Their code is read-only, which splits pages before Linux 6.13.",
                counted(modules.len(), "module"),
                even_size(all)
            )
        }
    };
    let rows = modules.into_iter().map(|module| vec![text(&module.name), Cell::Number(module.bytes as f64)]);
    table("modules", "Kernel modules", &[("module", ""), ("size", "bytes")], rows.collect(), caption)
}

fn guests(survey: &Survey) -> Table {
    let rows = survey.scan.guests.iter().map(|guest| {
        vec![
            Cell::Number(guest.process.pid.into()),
            text(user(&survey.passwd, guest.process.uid)),
            text(&guest.process.command),
            Cell::Number(guest.files.len() as f64),
            Cell::Number(total(guest.files.values().copied()) as f64),
        ]
    });
    let columns = [("process", ""), ("user", ""), ("command", ""), ("files", ""), ("size", "bytes")];
    let caption = "Files of guest memory (guest_memfd). Their pages may be out of the direct map; the kernel does not tell.";
    table("guest-memory", "Memory of virtual machines", &columns, rows.collect(), caption)
}

fn reasons(survey: &Survey) -> Table {
    let rows = survey.reasons.iter().map(|reason| {
        vec![text(reason.id), text(reason.state.word()), text(reason.effect), text(&reason.source)]
    });
    let columns = [("setting", ""), ("state", ""), ("effect on the map", ""), ("source", "")];
    table(
        "reasons",
        "Settings that break the map",
        &columns,
        rows.collect(),
        "The kernel records no owner of a split.",
    )
}

/// Returns the map at one moment: by place where the kernel lists it, else by size alone.
pub(crate) fn map(survey: &Survey, moment: &str) -> MemoryMap {
    match &survey.picture {
        Ok(listing) => MemoryMap {
            moment: moment.to_owned(),
            extents: listing.extents.clone(),
            source: "debug/page_tables/kernel".to_owned(),
        },
        Err(_) => by_size(&survey.map, moment),
    }
}

/// Returns the map by page size, without places.
pub(crate) fn by_size(map: &DirectMap, moment: &str) -> MemoryMap {
    MemoryMap {
        moment: moment.to_owned(),
        extents: map
            .by_size()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(size, bytes)| Extent { start: None, bytes, page_bytes: Some(size) })
            .collect(),
        source: "/proc/meminfo".to_owned(),
    }
}

fn omissions(survey: &Survey) -> Vec<Omission> {
    let omission =
        |part: &str, why: String, remedy: &str| Omission { part: part.into(), why, remedy: remedy.into() };
    let mut omissions = Vec::new();
    let scan = &survey.scan;
    let to_see_all = match rustix::process::geteuid().is_root() {
        true => "Run it outside of the container, or with the capability CAP_SYS_PTRACE.",
        false => "Run `study linux who` as root.",
    };
    if scan.unreadable > 0 {
        omissions.push(omission(
            "processes of other users",
            format!("{} of {} processes may not be read by this user.", scan.unreadable, scan.processes),
            to_see_all,
        ));
    }
    if let Some(how) = &survey.hidepid {
        omissions.push(omission(
            "hidden processes",
            format!(
                "/proc is mounted with hidepid={how}, so processes of other users are not listed at all."
            ),
            to_see_all,
        ));
    }
    if scan.left > 0 {
        omissions.push(omission(
            "some processes",
            format!("The time sufficed for all but {} of {} processes.", scan.left, scan.processes),
            "Give more time by `--limit SECONDS`.",
        ));
    }
    if let Err(why) = &survey.picture {
        omissions.push(omission(
            "the map by place",
            format!("{why}."),
            "As root, on a kernel with CONFIG_PTDUMP_DEBUGFS: mount -t debugfs none /sys/kernel/debug",
        ));
    } else if survey.picture.as_ref().is_ok_and(|listing| listing.is_cut) {
        omissions.push(omission(
            "a part of the map by place",
            "The kernel's listing is too long.".into(),
            "None.",
        ));
    }
    if survey.map.total() == 0 {
        omissions.push(omission(
            "the map by page size",
            "/proc/meminfo has no DirectMap fields.".into(),
            "Use a kernel for x86 or s390 that is not a container's substitute for one.",
        ));
    }
    if survey.splits.splits().is_none() {
        omissions.push(omission(
            "splits since boot",
            "/proc/vmstat has no direct_map_level2_splits.".into(),
            "Use Linux 5.13 or later on x86.",
        ));
    }
    if survey.programs_source == ProgramsSource::Beginning {
        omissions.push(omission(
            "a part of the BPF programs",
            "The time did not suffice for the kernel's whole list.".into(),
            "Give more time by `--limit SECONDS`.",
        ));
    }
    if let ProgramsSource::Descriptors(why) = &survey.programs_source {
        omissions.push(omission(
            "BPF programs without a descriptor",
            format!("The kernel does not show its list: {why}."),
            "Run `study linux who` as root.",
        ));
    }
    if survey.areas.is_none() {
        omissions.push(omission(
            "pages of machine code",
            "/proc/vmallocinfo is not readable.".into(),
            "Run `study linux who` as root.",
        ));
    }
    omissions
}

fn notes(survey: &Survey) -> Vec<String> {
    let mut notes = vec![survey.hibernation.sentence.clone()];
    notes.push(
        "A process shows secret memory by a descriptor or a mapping. Descriptors in flight between two processes, those \
         that a ring of io_uring holds, and those of a thread that shares its table with no other thread are not seen."
            .to_owned(),
    );
    if survey.secret == Availability::Absent {
        notes.push(format!(
            "{ABSENT} Before Linux 6.5 it takes `secretmem.enable=1` on the kernel's command line."
        ));
    }
    notes
}
