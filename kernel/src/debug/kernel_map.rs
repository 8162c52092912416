//! Commands about the kernel map: `kmap`, `vmallocinfo`.

mod by_hand;

use core::fmt;
use core::ops::ControlFlow;

use rhumb_kernelmap::AreaKind;
use rhumb_kernelmap::map::AreaReport;
use rhumb_machine::{Counted, MAX_NODES, PageSize, VirtAddr, VirtRange};
use rhumb_monitor::{Arguments, Column, Command, CommandError, Complete, Human, Output, Table};
use rhumb_pagetable::{Join, Leaves, PageCounts, Permissions, Spans};

use super::Kernel;
use crate::facts::Boot;
use crate::layout;
use crate::mm::kernel_map::{self, KernelHome};
use crate::mm::owners::{self, Name, Owner};
use crate::mm::place::{Place, place_of};
use crate::mm::tables;

type Map = rhumb_kernelmap::KernelMap<KernelHome>;

pub const COMMANDS: &[Command<Kernel>] = &[
    Command {
        name: "kmap",
        usage: "[check | move ADDRESS|all NODE | take PAGES [NODE] | give]",
        summary: "the kernel map: what is mapped there, by what pages, for what owner",
        help: "One line a range, as pmap shows them: its first address, KiB of addresses, KiB of memory behind them, rights,\n\
               pages by size, what it is, whose it is. Areas in a row that are alike have one line, with their number; an\n\
               area has a line for each run of its rights. Areas that wait for a flush are counted ('vmallocinfo' lists them).\n\
               The last line compares the list with the page tables. 'kmap check' checks every structure of the map,\n\
               too; no other CPU may change it meanwhile.\n\
               'kmap move' exchanges the frames of the movable area that has the address, or of all of them, for frames of a\n\
               node, while CPUs read and write there; 'vmallocinfo' says which areas are movable, and where their pages are.\n\
               Large pages move whole, or stay where the node has no free block of their size.\n\
               'kmap take' maps a movable area by hand, and 'kmap give' gives all of these back, and checks their contents.",
        complete: Complete::Words(WORDS),
        run: kmap,
    },
    Command {
        name: "vmallocinfo",
        usage: "",
        summary: "areas of the kernel map, as /proc/vmallocinfo shows them",
        help: "Addresses, bytes, owner, pages, kind, whether 'kmap move' moves it; Nn= says how many pages are on node n.",
        complete: Complete::Nothing,
        run: vmallocinfo,
    },
];

fn the_map() -> Result<&'static Map, CommandError> {
    kernel_map::map().ok_or_else(|| CommandError::failed("there is no kernel map: boot says why"))
}

const COLUMNS: &[Column] = &[
    Column::left("address", 16),
    Column::right("kbytes", 9),
    Column::right("resident", 9),
    Column::left("perm", 4),
    Column::left("pages", 16),
    Column::left("what", 26),
    Column::left("owner", 0),
];

/// The words after `kmap`.
const WORDS: &[&str] = &["check", "move", "take", "give"];

fn kmap(kernel: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    match arguments.optional(|words| words.one_of("what", WORDS))? {
        Some("move") => by_hand::exchange(kernel.boot, arguments, out),
        Some("take") => by_hand::take(kernel.boot, arguments, out),
        Some("give") => by_hand::give(arguments, out),
        what => {
            arguments.end()?;
            list(what.is_some(), out)
        }
    }
}

fn list(is_check: bool, out: &mut dyn Output) -> Result<(), CommandError> {
    let map = the_map()?;
    let mut table = Table::new(out, COLUMNS);
    list_fixed(&mut table);
    let mut sum = Sum::default();
    let mut run = Run::default();
    let walked = map.for_each_area(|area| {
        let mut pages = PageCounts::NONE;
        let is_named = [owners::STACKS, owners::DEVICES].map(Owner::in_frames).contains(&area.owner);
        let place = if is_named { place_of(area.range.start()) } else { Place::Areas };
        for span in Spans::new(Leaves::new(tables::reader(), tables::root(), area.range), Join::Virtual) {
            pages.add_all(span.pages);
            if area.kind != AreaKind::Waiting {
                let range = layout::range(span.virt, span.bytes);
                let mapped = Mapped { pages: span.pages, permissions: Some(span.permissions) };
                run.add(&mut table, AreaReport { range, ..area }, place, mapped);
            }
        }
        sum.add(&area, pages);
        if table.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    run.finish(&mut table);
    if table.interrupted() {
        return Err(CommandError::Interrupted);
    }
    walked.map_err(CommandError::failed)?;
    finish(map, sum, is_check, out)
}

/// The pages of a range, and their rights.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mapped {
    pages: PageCounts,
    permissions: Option<Permissions>,
}

/// Areas in a row that are alike, which have one line: there may be a million slabs.
#[derive(Default)]
struct Run {
    first: Option<(AreaReport, Place, Mapped)>,
    count: u64,
}

impl Run {
    fn add(&mut self, table: &mut Table<'_>, area: AreaReport, place: Place, mapped: Mapped) {
        let is_alike = |(first, at, pages): &(AreaReport, Place, Mapped)| {
            let of = |area: &AreaReport| (area.kind, area.owner, area.range.bytes());
            of(first) == of(&area) && *at == place && *pages == mapped
        };
        if !self.first.as_ref().is_some_and(is_alike) {
            self.finish(table);
            self.first = Some((area, place, mapped));
        }
        self.count += 1;
    }

    fn finish(&mut self, table: &mut Table<'_>) {
        let Some((area, place, mapped)) = self.first.take() else { return };
        let count = core::mem::take(&mut self.count);
        if count > 1 {
            let what = format_args!("{} x {count}", area.kind);
            row(
                table,
                (area.range.start(), area.range.bytes() * count),
                &mapped.times(count),
                &what,
                &Name(area.owner),
            );
        } else {
            let range = (area.range.start(), area.range.bytes());
            match place {
                Place::Areas => row(table, range, &mapped, &area.kind, &Name(area.owner)),
                named => row(table, range, &mapped, &named.name(), &Name(area.owner)),
            }
        }
    }
}

impl Mapped {
    /// Returns so many times the pages.
    const fn times(self, count: u64) -> Self {
        let PageCounts { size_4k, size_2m, size_1g } = self.pages;
        let pages =
            PageCounts { size_4k: size_4k * count, size_2m: size_2m * count, size_1g: size_1g * count };
        Self { pages, ..self }
    }
}

fn row(
    table: &mut Table<'_>,
    (start, bytes): (VirtAddr, u64),
    mapped: &Mapped,
    what: &dyn fmt::Display,
    owner: &dyn fmt::Display,
) {
    let permissions: &dyn fmt::Display = match &mapped.permissions {
        Some(permissions) => permissions,
        None => &"----",
    };
    table.row(&[
        &format_args!("{:016x}", start.get()),
        &(bytes / 1024),
        &(mapped.pages.bytes() / 1024),
        permissions,
        &mapped.pages,
        what,
        owner,
    ]);
}

/// Lists what is mapped in the kernel map outside of areas: long mappings.
fn list_fixed(table: &mut Table<'_>) {
    let fixed = layout::range(layout::KERNEL_MAP, layout::AREAS.since(layout::KERNEL_MAP));
    for span in Spans::new(Leaves::new(tables::reader(), tables::root(), fixed), Join::Virtual) {
        let range = layout::range(span.virt, span.bytes);
        let mapped = Mapped { pages: span.pages, permissions: Some(span.permissions) };
        row(table, (range.start(), range.bytes()), &mapped, &place_of(span.virt).name(), &"");
    }
}

/// The sums over the list.
#[derive(Default)]
struct Sum {
    areas: u64,
    bytes: u64,
    waiting_areas: u64,
    waiting_bytes: u64,
    /// Pages that the tables have in the addresses of areas.
    pages: PageCounts,
}

impl Sum {
    const fn add(&mut self, area: &AreaReport, pages: PageCounts) {
        if matches!(area.kind, AreaKind::Waiting) {
            self.waiting_areas += 1;
            self.waiting_bytes += area.range.bytes();
        } else {
            self.areas += 1;
            self.bytes += area.range.bytes();
        }
        self.pages.add_all(pages);
    }
}

fn finish(map: &Map, sum: Sum, is_check: bool, out: &mut dyn Output) -> Result<(), CommandError> {
    writeln!(
        out,
        "{} in {}; {} in {} waiting for a flush ({})",
        Human(sum.bytes),
        Counted(sum.areas, "area"),
        Human(sum.waiting_bytes),
        Counted(sum.waiting_areas, "area"),
        map.policy()
    );
    let mut found = PageCounts::NONE;
    for (region, _) in map.regions() {
        for leaf in Leaves::new(tables::reader(), tables::root(), region) {
            found.add(leaf.size, 1);
        }
    }
    if found != sum.pages || found.bytes() != sum.bytes {
        return Err(CommandError::failed(format_args!(
            "the page tables map {found} there, and the areas of the list {}",
            sum.pages
        )));
    }
    writeln!(out, "the page tables say the same");
    if is_check {
        kernel_map::validate().map_err(CommandError::failed)?;
        writeln!(out, "every structure is sound");
    }
    Ok(())
}

fn vmallocinfo(
    kernel: &mut Kernel,
    arguments: Arguments<'_>,
    out: &mut dyn Output,
) -> Result<(), CommandError> {
    arguments.end()?;
    let map = the_map()?;
    let boot = kernel.boot;
    let walked = map.for_each_area(|area| {
        let (range, page) = (area.range, PageSize::Size4K.bytes());
        write!(
            out,
            "{:#018x}-{:#018x} {:>9} {} pages={}",
            range.start().get(),
            range.end().get(),
            range.bytes(),
            Underscored(Name(area.owner)),
            range.bytes() / page
        );
        match area.kind {
            AreaKind::Memory => {
                write!(out, "{}", if area.is_movable { " vmalloc movable" } else { " vmalloc" });
                for (node, pages) in
                    on_nodes(boot, range).into_iter().enumerate().filter(|&(_, pages)| pages > 0)
                {
                    write!(out, " N{node}={pages}");
                }
            }
            AreaKind::Device => {
                let first = Leaves::new(tables::reader(), tables::root(), range).next();
                write!(out, " phys={:#018x} ioremap", first.map_or(0, |leaf| leaf.phys.get()));
            }
            AreaKind::Pageable => write!(out, " pageable"),
            AreaKind::Waiting => write!(out, " unpurged"),
        }
        writeln!(out);
        if out.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if out.interrupted() {
        return Err(CommandError::Interrupted);
    }
    walked.map_err(CommandError::failed)
}

/// Returns how many pages of 4 KiB of a range are on each node.
fn on_nodes(boot: &Boot, range: VirtRange) -> [u64; MAX_NODES] {
    let mut nodes = [0; MAX_NODES];
    for leaf in Leaves::new(tables::reader(), tables::root(), range) {
        if let Some(pages) = nodes.get_mut(boot.topology.node_of(leaf.phys).index()) {
            *pages += leaf.size.frames();
        }
    }
    nodes
}

/// A name as one word, for scripts.
struct Underscored<T>(T);

impl<T: fmt::Display> fmt::Display for Underscored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct OneWord<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for OneWord<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| self.0.write_char(if c == ' ' { '_' } else { c }))
            }
        }
        fmt::write(&mut OneWord(f), format_args!("{}", self.0))
    }
}
