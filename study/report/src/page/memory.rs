//! Physical memory as a picture, by the size of the pages that map it.
//!
//! Where places are known, memory is a sheet of cells, read like text: 64 cells a row, each of the same number of bytes
//! in all pictures of the page. A cell that pages of several sizes map is divided among them. Rows without memory are
//! left out. Where only sums are known, a bar is divided.

mod sheet;
#[cfg(test)]
mod tests;

use maud::{Markup, html};

use super::tables::rows;
use crate::format::{bytes, number, page, share};
use crate::schema::MemoryMap;
use sheet::{CELLS, Sheet, cell_bytes};

/// Pages of a class have the same colour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Class {
    /// Of 1 GiB or more.
    Giant,
    /// Of 2 MiB or more.
    Large,
    /// Smaller than 2 MiB.
    Small,
    /// Not mapped.
    Unmapped,
}

impl Class {
    const ALL: [Self; 4] = [Self::Giant, Self::Large, Self::Small, Self::Unmapped];

    fn of(page_bytes: Option<u64>) -> Self {
        match page_bytes {
            Some(size) if size >= 1 << 30 => Self::Giant,
            Some(size) if size >= 2 << 20 => Self::Large,
            Some(_) => Self::Small,
            None => Self::Unmapped,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Giant => "p1g",
            Self::Large => "p2m",
            Self::Small => "p4k",
            Self::Unmapped => "pun",
        }
    }
}

/// Returns the figure of all maps, one beside the other.
pub(super) fn figure(maps: &[MemoryMap]) -> Markup {
    let cell = cell_bytes(maps);
    html! {
        figure #map {
            h3 { "Physical memory by the size of its pages" }
            ul.legend {
                @for class in Class::ALL {
                    @let sizes = sizes(maps, class);
                    @if !sizes.is_empty() { li { i class=(class.name()) {} (sizes) } }
                }
            }
            div.maps {
                @for map in maps { (picture(map, cell)) }
            }
            (table(maps))
        }
    }
}

/// Returns the sizes of the pages of a class: "4 KiB, 64 KiB".
fn sizes(maps: &[MemoryMap], class: Class) -> String {
    let mut sizes: Vec<Option<u64>> =
        maps.iter().flat_map(MemoryMap::by_page).map(|(size, _)| size).collect();
    sizes.retain(|size| Class::of(*size) == class);
    sizes.sort();
    sizes.dedup();
    sizes.into_iter().map(page).collect::<Vec<_>>().join(", ")
}

fn picture(map: &MemoryMap, cell: u64) -> Markup {
    let total: u128 = map.extents.iter().map(|extent| u128::from(extent.bytes)).sum();
    let by_page = map.by_page();
    let is_placed = map.extents.iter().all(|extent| extent.start.is_some());
    html! {
        div.map {
            h4 { (map.moment) }
            @if total == 0 {
                p.none { "Nothing is known of the map." }
            } @else {
                p.sums {
                    @for (index, (size, sum)) in by_page.iter().enumerate() {
                        @if index > 0 { " · " }
                        span { (page(*size)) ": " b { (share(*sum as f64 / total as f64)) } }
                    }
                }
                @if is_placed {
                    (Sheet::of(map, cell).picture(&map.moment))
                    p.source {
                        "A cell is " (bytes(cell as f64)) ", a row " (bytes(cell as f64 * CELLS as f64)) ". From " (map.source) "."
                    }
                } @else {
                    (bar(&by_page, total as f64, &map.moment))
                    p.source { "Only sums are known. From " (map.source) "." }
                }
            }
        }
    }
}

/// Draws the shares of all sizes as one bar.
fn bar(by_page: &[(Option<u64>, u64)], total: f64, moment: &str) -> Markup {
    let mut at = 0.0;
    let parts: Vec<(f64, f64, Option<u64>)> = by_page
        .iter()
        .map(|(size, sum)| {
            let width = *sum as f64 / total * 100.0;
            at += width;
            (at - width, width, *size)
        })
        .collect();
    html! {
        svg.sums-bar role="img" aria-label=(format!("Shares of the sizes of pages, {moment}")) {
            @for (at, width, size) in parts {
                rect class=(Class::of(size).name()) x=(format!("{at:.3}%")) width=(format!("{width:.3}%")) height="100%" { title { (page(size)) } }
            }
        }
    }
}

fn table(maps: &[MemoryMap]) -> Markup {
    let body = maps.iter().flat_map(|map| {
        map.by_page().into_iter().map(|(size, sum)| {
            let count = map.extents.iter().filter(|extent| extent.page_bytes == size).count();
            vec![map.moment.clone(), page(size), bytes(sum as f64), number(count as f64)]
        })
    });
    rows(&["moment", "pages", "memory", "extents"], 2, body.collect())
}
