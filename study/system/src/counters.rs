//! Hardware counters of translation misses and walks, where the machine has them.
//!
//! Each event is opened twice: for the kernel and for user space. The kernel shares the few counters of a CPU among all
//! events; a reading is scaled by the share of time that its event was counted, and says so.

mod events;

use std::fs;
use std::io;

use perf_event::{Builder, Counter, ReadFormat};
use raw_cpuid::CpuId;
use rhumb_study_report::{Cell, Column, Omission, Table};
use rustix::io::Errno;

use events::Choice;

/// Counters of this thread, and of threads that it starts later.
pub struct Counters {
    counters: Vec<Counting>,
}

struct Counting {
    name: &'static str,
    in_kernel: bool,
    counter: Counter,
}

/// The count of one event.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reading {
    /// The event: "data walks, 4-KiB pages".
    pub name: &'static str,
    /// Whether it was counted in the kernel, rather than in user space.
    pub in_kernel: bool,
    /// The count, scaled to the whole time.
    pub count: f64,
    /// The share of the time that it was counted.
    pub counted: f64,
}

impl Counters {
    /// Opens the counters.
    ///
    /// # Errors
    /// The omission to report, where the machine has none or the user may use none.
    pub fn open() -> Result<Self, Omission> {
        let mut counters = Vec::new();
        let mut refusal = None;
        for (name, choice) in events::of(&CpuId::new()) {
            for in_kernel in [false, true] {
                match open(&choice, in_kernel) {
                    Ok(counter) => counters.push(Counting { name, in_kernel, counter }),
                    Err(error) => refusal = Some(refusal.unwrap_or(error)),
                }
            }
        }
        match refusal {
            Some(error) if counters.is_empty() => Err(omission(&error)),
            _ => Ok(Self { counters }),
        }
    }

    /// Tells whether the kernel's own events are counted.
    pub fn sees_kernel(&self) -> bool {
        self.counters.iter().any(|counting| counting.in_kernel)
    }

    /// Runs `work` and returns its result and the counts of it.
    ///
    /// # Errors
    /// The system's.
    pub fn measure<T>(&mut self, work: impl FnOnce() -> T) -> io::Result<(T, Vec<Reading>)> {
        for Counting { counter, .. } in &mut self.counters {
            counter.reset()?;
            counter.enable()?;
        }
        let result = work();
        for Counting { counter, .. } in &mut self.counters {
            counter.disable()?;
        }
        let mut readings = Vec::with_capacity(self.counters.len());
        for Counting { name, in_kernel, counter } in &mut self.counters {
            let data = counter.read_full()?;
            let enabled = data.time_enabled().unwrap_or_default().as_secs_f64();
            let running = data.time_running().unwrap_or_default().as_secs_f64();
            let counted = if enabled > 0.0 { running / enabled } else { 0.0 };
            let count = if counted > 0.0 { data.count() as f64 / counted } else { 0.0 };
            readings.push(Reading { name, in_kernel: *in_kernel, count, counted });
        }
        Ok((result, readings))
    }
}

/// Returns a table of readings: one row for each arm, one column for each event.
pub fn table(id: &str, title: &str, arms: &[(String, f64, Vec<Reading>)]) -> Table {
    let first = arms.first().map_or(&[][..], |(_, _, readings)| readings.as_slice());
    let events = first.iter().map(|reading| {
        Column::new(
            format!("{} ({})", reading.name, if reading.in_kernel { "kernel" } else { "user" }),
            "for each operation",
        )
    });
    let rows = arms.iter().map(|(name, operations, readings)| {
        let counts = readings.iter().map(|reading| match reading.counted > 0.0 {
            true => Cell::Number(reading.count / operations),
            false => Cell::Unknown(()),
        });
        std::iter::once(Cell::Text(name.clone())).chain(counts).collect()
    });
    Table {
        id: id.to_owned(),
        title: title.to_owned(),
        columns: std::iter::once(Column::new("arm", "")).chain(events).collect(),
        rows: rows.collect(),
        caption: "Counted by the CPU in one run of each arm, apart from the timed rounds.".to_owned(),
    }
}

fn open(choice: &Choice, in_kernel: bool) -> io::Result<Counter> {
    let mut builder = match choice {
        Choice::Raw(raw) => Builder::new(*raw),
        Choice::Hardware(event) => Builder::new(*event),
        Choice::Cache(event) => Builder::new(event.clone()),
    };
    builder.read_format(ReadFormat::TOTAL_TIME_ENABLED | ReadFormat::TOTAL_TIME_RUNNING);
    builder.observe_self().any_cpu().inherit(true).exclude_hv(true);
    builder.exclude_kernel(!in_kernel).exclude_user(in_kernel);
    builder.build()
}

fn omission(error: &io::Error) -> Omission {
    let paranoia = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let (why, remedy) = match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => (
            format!("The kernel lets this user count nothing (perf_event_paranoid is {}).", paranoia.trim()),
            "Run as root, or set kernel.perf_event_paranoid to 1 or less.",
        ),
        // The kernel has no driver for counters of this CPU.
        Some(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => (
            "This machine shows no hardware counters, as most virtual machines do not.".to_owned(),
            "Run on bare metal, or let the hypervisor pass the counters on.",
        ),
        Some(Errno::NOSYS) => (
            "This kernel was built without hardware counters (perf_event_open).".to_owned(),
            "Run a kernel that has the option CONFIG_PERF_EVENTS.",
        ),
        _ => (format!("The kernel opens no hardware counters: {error}."), "Run on another machine."),
    };
    Omission { part: "hardware counters".to_owned(), why, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests;
