//! The pages that the system gave, and the memory that page tables take.

use rhumb_study_report::{Bar, Bars, Cell, Column, Study, Table};

use crate::arms::Seen;
use crate::options::Program;
use crate::size::sized;

/// Adds the pages that the system gave, and the memory that tables take.
pub(crate) fn add_pages(study: &mut Study, program: &Program, seen: &[Seen]) {
    let mib = |bytes: u64| Cell::Number((bytes >> 20) as f64);
    let count = |count: Option<u64>| count.map_or(Cell::Unknown(()), |count| Cell::Number(count as f64));
    let row = |seen: &Seen| {
        vec![
            Cell::Text(seen.pages.to_string()),
            Cell::Text(seen.source.to_owned()),
            mib(seen.got.gib_bytes),
            mib(seen.got.mib_bytes),
            mib(seen.got.kib_bytes),
            count(seen.placed.map(|placed| placed.contiguous)),
            count(seen.placed.and_then(|placed| placed.flagged_huge)),
            count(seen.tables_bytes.map(|bytes| bytes >> 10)),
            count(Some(seen.pages.kernel_tables_bytes(program.bytes) >> 10)),
        ]
    };
    study.tables.push(Table {
        id: "pages".to_owned(),
        title: format!("The pages that the system gave each direct map of {}", sized(program.bytes)),
        columns: vec![
            Column::new("direct map", ""),
            Column::new("source", ""),
            Column::new("in 1-GiB pages", "MiB"),
            Column::new("in 2-MiB pages", "MiB"),
            Column::new("in 4-KiB pages", "MiB"),
            Column::new("contiguous blocks", "of 2 MiB"),
            Column::new("blocks of huge pages", "of 2 MiB"),
            Column::new("tables here", "KiB"),
            Column::new("tables of a kernel", "KiB"),
        ],
        rows: seen.iter().map(row).collect(),
        caption: "Sizes by /proc/self/smaps; blocks by pagemap and kpageflags, which only root may read. Linux sets a \
                  table aside for each transparent huge page, so the process's tables are those of 4-KiB pages in any \
                  case; a kernel's direct map has the tables of the last column."
            .to_owned(),
    });
    let bar = |seen: &Seen| Bar {
        name: seen.pages.to_string(),
        values: vec![seen.pages.kernel_tables_bytes(program.bytes) as f64 / 1024.0],
    };
    study.bars.push(Bars {
        id: "page-tables".to_owned(),
        title: format!("Page tables of a direct map of {}", sized(program.bytes)),
        unit: "KiB".to_owned(),
        parts: vec!["tables below the third level".to_owned()],
        bars: seen.iter().map(bar).collect(),
        caption: "Reckoned: a page of entries for each GiB that is not one page, and for each broken block."
            .to_owned(),
    });
}
