//! The machines of a study: the command line, the CPUs, the commands, and the regions that are counted.

/// The question that a machine is a part of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Part {
    /// Direct maps in pages of different sizes, aged, and healed.
    DirectMap,
    /// The kernel's own code in large and in small pages.
    Text,
    /// Objects in the direct map, and in the kernel map.
    Memory,
    /// Flushes at once, in batches, and late, and changes of the direct map, with 1 to 4 CPUs.
    Shootdown,
    /// Page tables that only their writer can write.
    Protection,
}

impl Part {
    /// The heading.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::DirectMap => "Direct maps in pages of different sizes",
            Self::Text => "The kernel's code in pages of 2 MiB and 4 KiB",
            Self::Memory => "Objects in the direct map and in the kernel map",
            Self::Shootdown => "Changes and flushes with several CPUs",
            Self::Protection => "Protected page tables",
        }
    }

    /// The name in ids.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::DirectMap => "directmap",
            Self::Text => "text",
            Self::Memory => "kmem",
            Self::Shootdown => "shootdown",
            Self::Protection => "protect-tables",
        }
    }

    pub(crate) const ALL: [Self; 5] =
        [Self::DirectMap, Self::Text, Self::Memory, Self::Shootdown, Self::Protection];
}

/// Whether the plugin follows accesses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trace {
    /// Accesses go through the models.
    Followed,
    /// Instructions are counted only.
    Left,
}

/// One machine: it boots, runs its commands, and is turned off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Planned {
    pub(crate) part: Part,
    /// The name in tables and charts.
    pub(crate) label: String,
    /// Words for the kernel's command line.
    pub(crate) words: &'static str,
    pub(crate) cpus: u32,
    /// Commands before the regions are counted.
    pub(crate) before: &'static [&'static str],
    /// The word `busy`, or nothing.
    pub(crate) busy: &'static str,
    pub(crate) regions: &'static [&'static str],
    pub(crate) trace: Trace,
}

impl Planned {
    fn new(
        part: Part,
        label: impl Into<String>,
        words: &'static str,
        regions: &'static [&'static str],
    ) -> Self {
        let trace = Trace::Followed;
        Self { part, label: label.into(), words, cpus: 1, before: &[], busy: "", regions, trace }
    }

    fn after(mut self, commands: &'static [&'static str]) -> Self {
        self.before = commands;
        self
    }

    fn on(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self.busy = if cpus > 1 { "busy" } else { "" };
        self.trace = Trace::Left;
        self
    }

    /// Returns the lines for the kernel's prompt. The region `empty` is the measuring itself.
    pub(crate) fn commands(&self) -> Vec<String> {
        let count = ["count", self.busy, "empty"].into_iter().chain(self.regions.iter().copied());
        let count: Vec<&str> = count.filter(|word| !word.is_empty()).collect();
        let mut commands: Vec<String> = self.before.iter().map(|line| (*line).to_owned()).collect();
        commands.extend([count.join(" "), "meminfo".to_owned()]);
        commands
    }
}

/// Regions that read much data, and the operations of the allocators.
const DATA: &[&str] = &["study", "frames/pair", "frames/refill", "objects/pair", "objects/refill", "tables"];
/// Regions with much code, some with a flush in each run.
const CODE: &[&str] =
    &["frames", "objects/refill", "tables", "flush", "directmap", "kmap/pair", "kmap/eager/1"];
/// Regions whose data are objects.
const OBJECTS: &[&str] =
    &["study/objects", "study/lookup", "objects/pair", "objects/refill", "objects/drain"];
/// Changes that all CPUs must hear of.
const CHANGES: &[&str] =
    &["flush", "directmap", "pool/take", "pool/give", "kmap/eager/1", "kmap/batched/1", "kmap/lazy/1"];
/// Writes of page tables.
const WRITES: &[&str] = &["tables", "directmap", "kmap/pair", "pool/take"];

/// The labels of direct maps, which the charts name.
const LARGE: &str = "2-MiB pages";
pub(crate) const HUGE: &str = "1-GiB pages";
const SMALL: &str = "4-KiB pages";

/// Returns all machines, in the order in which they run: the most telling first, so that an interrupted study has them.
pub(crate) fn plan(quick: bool) -> Vec<Planned> {
    let map = |label: &str, words| Planned::new(Part::DirectMap, label, words, DATA);
    let mut plan = vec![
        map(HUGE, "directmap=1g"),
        map(LARGE, "directmap=2m"),
        map(SMALL, "directmap=4k"),
        map("1-GiB pages, 1 in 8 blocks broken", "directmap=1g").after(&["directmap age 1-in-8"]),
        map("1-GiB pages, broken and healed", "directmap=1g")
            .after(&["directmap age full", "directmap heal"]),
        Planned::new(Part::Text, "code in 2-MiB pages", "directmap=2m text=2m", CODE),
        Planned::new(Part::Text, "code in 4-KiB pages", "directmap=2m text=4k", CODE),
        Planned::new(Part::Memory, "objects in the direct map", "directmap=2m kmem=direct", OBJECTS),
        Planned::new(Part::Memory, "objects in the kernel map", "directmap=2m kmem=virtual", OBJECTS),
    ];
    let cpus: &[u32] = if quick { &[1, 4] } else { &[1, 2, 4] };
    plan.extend(cpus.iter().map(|cpus| {
        let label = if *cpus == 1 { "1 CPU".to_owned() } else { format!("{cpus} CPUs, all busy") };
        Planned::new(Part::Shootdown, label, "directmap=2m", CHANGES).on(*cpus)
    }));
    let protected = |label: &str, words| Planned::new(Part::Protection, label, words, WRITES);
    plan.push(protected("tables writable", "directmap=2m protect_tables=off"));
    plan.push(protected("tables written through windows", "directmap=2m protect_tables=window"));
    plan.push(protected("tables under a protection key", "directmap=2m protect_tables=pks"));
    if !quick {
        plan.push(map("1-GiB pages, all broken", "directmap=1g").after(&["directmap age full"]));
        plan.push(
            map("1-GiB pages, half of the blocks broken", "directmap=1g").after(&["directmap age random:1"]),
        );
    }
    plan
}

#[cfg(test)]
mod tests;
