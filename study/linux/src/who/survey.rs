//! All that is known of the direct map and of its holders at one moment.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::blocks::{Power, Verdict, judge};
use super::bpf;
use super::reasons::{Reason, Settings, reasons};
use super::scan::{Scan, scan};
use super::show::counted;
use crate::error::Error;
use crate::proc::Root;
use crate::proc::counters::{DirectMap, Splits, kilobytes};
use crate::proc::kernel::{Areas, Module, Program, areas, modules};
use crate::proc::process::{hidepid, uptime_s};
use crate::proc::tables::{self, Listing};
use crate::secret::Availability;

/// The kernel's listing of its page tables, below `/sys`.
const TABLES: &str = "kernel/debug/page_tables/kernel";

/// All that is known at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Survey {
    /// The moment, in seconds since 1970.
    pub unix_s: f64,
    /// How long the system has run, in seconds.
    pub uptime_s: Option<f64>,
    /// The direct map by page size.
    pub map: DirectMap,
    /// Its splits and merges since boot.
    pub splits: Splits,
    /// Memory that the kernel gives out: `MemTotal` of `/proc/meminfo`.
    pub memory_bytes: Option<u64>,
    /// Bytes of all page tables of the system: `PageTables` of `/proc/meminfo`.
    pub tables_bytes: Option<u64>,
    /// Whether secret memory can be had.
    pub secret: Availability,
    /// The search of all processes.
    pub scan: Scan,
    /// Whether secret memory keeps the machine from hibernating.
    pub hibernation: Verdict,
    /// All BPF programs, and whether that is the kernel's whole list. Without root, those that processes hold.
    pub programs: Vec<Program>,
    /// Where the programs are known from.
    pub programs_source: ProgramsSource,
    /// Memory of machine code, where root may read it.
    pub areas: Option<Areas>,
    /// Modules; `None` where the kernel has none or does not tell.
    pub modules: Option<Vec<Module>>,
    /// Settings that break the map.
    pub reasons: Vec<Reason>,
    /// The map itself, by place.
    pub picture: Result<Listing, String>,
    /// How `/proc` hides other users' processes from this one, if it does.
    pub hidepid: Option<String>,
    /// `/etc/passwd`.
    pub passwd: String,
    /// How long all of it took.
    pub took: Duration,
}

impl Survey {
    /// Says which processes were not searched, as the second half of a sentence; `None` where each one was.
    pub fn unseen(&self) -> Option<String> {
        let is_root = rustix::process::geteuid().is_root();
        let mut parts = Vec::new();
        match self.scan.unreadable {
            0 => {}
            1 => parts.push("1 is hidden".to_owned()),
            hidden => parts.push(format!("{hidden} are hidden")),
        }
        if self.hidepid.is_some() {
            parts.push("/proc does not even list those of other users".to_owned());
        }
        let mut remedies = Vec::new();
        if !parts.is_empty() {
            remedies.push(match is_root {
                true => "run outside of the container, or with CAP_SYS_PTRACE",
                false => "run as root",
            });
        }
        if self.scan.left > 0 {
            parts.push(format!("the time did not suffice for {}", self.scan.left));
            remedies.push("give more by --limit SECONDS");
        }
        let [parts, remedies] = [parts, remedies.into_iter().map(ToOwned::to_owned).collect()]
            .map(|texts: Vec<String>| texts.join(" and "));
        (!parts.is_empty()).then(|| format!("{parts}: {remedies}"))
    }

    /// Says that no holder was seen, and among how many processes.
    pub fn none_seen(&self) -> String {
        let scan = &self.scan;
        let seen = scan.processes.saturating_sub(scan.unreadable).saturating_sub(scan.left) as usize;
        match self.unseen() {
            None => format!("No holder among all {}.", counted(seen, "process")),
            Some(unseen) => {
                format!("No holder among the {} that this user may read; {unseen}.", counted(seen, "process"))
            }
        }
    }
}

/// Where BPF programs are known from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProgramsSource {
    /// The kernel's own list: all of them.
    Kernel,
    /// The beginning of the kernel's own list, because the time did not suffice for all of it.
    Beginning,
    /// Descriptors of processes: the kernel refused its list, for this reason.
    Descriptors(String),
}

/// Looks at the system.
///
/// # Errors
/// [`Error::Unreadable`] where `/proc` is not there. All else that is missing is missing in the result.
pub fn survey(root: &Root, limit: Duration, picture: Picture) -> Result<Survey, Error> {
    let began = Instant::now();
    let unreadable = |why: io::Error| Error::Unreadable { path: root.proc.display().to_string(), why };
    let meminfo = root.proc("meminfo").map_err(unreadable)?;
    let vmstat = root.proc("vmstat").unwrap_or_default();
    let secret = Availability::probe();
    let scan = scan(root, &secret, limit).map_err(unreadable)?;
    let saw_all = scan.is_complete();
    let hidepid = root
        .proc("self/mountinfo")
        .ok()
        .and_then(|mounts| hidepid(&mounts, &root.proc.display().to_string()))
        .filter(|_| !lists_others(root));
    let hibernation = judge(&Power::read(root), scan.holders.len(), saw_all && hidepid.is_none());
    let held = || scan.programs.values().map(|held| held.program.clone()).collect();
    let (programs, programs_source) = match bpf::programs(Instant::now() + limit / 4) {
        Ok((programs, true)) => (programs, ProgramsSource::Kernel),
        Ok((programs, false)) => (programs, ProgramsSource::Beginning),
        Err(error) => (held(), ProgramsSource::Descriptors(error.to_string())),
    };
    Ok(Survey {
        unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        uptime_s: root.proc("uptime").ok().and_then(|text| uptime_s(&text)),
        map: DirectMap::parse(&meminfo),
        splits: Splits::parse(&vmstat),
        memory_bytes: kilobytes(&meminfo, "MemTotal"),
        tables_bytes: kilobytes(&meminfo, "PageTables"),
        secret,
        hibernation,
        programs,
        programs_source,
        areas: root.proc("vmallocinfo").ok().filter(|text| !text.is_empty()).map(|text| areas(&text)),
        modules: root.proc("modules").ok().map(|text| modules(&text)),
        reasons: reasons(&Settings::read(root)),
        picture: match picture {
            Picture::Wanted => listing(root),
            Picture::Left => Err("it was not asked for".to_owned()),
        },
        hidepid,
        passwd: crate::proc::read(&root.passwd).unwrap_or_default(),
        scan,
        took: began.elapsed(),
    })
}

/// Tells whether a `/proc` that hides processes lists those of other users nevertheless: to root with all its rights, or to
/// a group. The user named root of a user name space has no such right over processes outside. The first process tells: it
/// is another user's, or root's.
fn lists_others(root: &Root) -> bool {
    let own = rustix::process::geteuid();
    root.proc.join("1").metadata().is_ok_and(|first| own.is_root() || first.uid() != own.as_raw())
}

/// Whether the kernel's listing of its page tables is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Picture {
    /// It is, where it can be.
    Wanted,
    /// It is not: a kernel takes long to write it.
    Left,
}

/// Reads the kernel's own listing, or says why not.
pub(crate) fn listing(root: &Root) -> Result<Listing, String> {
    let path = root.sys.join(TABLES);
    let file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{} needs root", path.display()),
        _ => format!("{} is not there", path.display()),
    })?;
    tables::direct_map(BufReader::with_capacity(1 << 20, file))
        .map_err(|error| format!("{}: {error}", path.display()))?
        .ok_or_else(|| format!("{} has no direct map", path.display()))
}
