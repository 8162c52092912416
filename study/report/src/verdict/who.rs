//! The answer of `study linux who`: how much of the map is small, and the holders that break it.

use super::Tone;
use crate::format::{counted, page, share};
use crate::schema::{MemoryMap, Study};

/// The id of the table whose rows are the processes that hold secret memory.
pub const HOLDERS: &str = "holders";

/// Returns tone, headline and detail.
pub(super) fn answer(study: &Study) -> (Tone, String, String) {
    let holders = study.tables.iter().find(|table| table.id == HOLDERS);
    let headline = match holders {
        Some(table) if table.rows.is_empty() => "No process that can be seen holds secret memory.".to_owned(),
        Some(table) => {
            let verb = if table.rows.len() == 1 { "has" } else { "have" };
            format!("{} {verb} secret memory.", counted(table.rows.len(), "holder"))
        }
        None => "The holders of secret memory could not be seen.".to_owned(),
    };
    let mut detail = study.maps.last().map(of_map).unwrap_or_default();
    if let Some(table) = holders.filter(|table| !table.caption.is_empty()) {
        detail = format!("{detail} {}", crate::format::sentence(&table.caption));
    }
    if detail.is_empty() {
        detail = "The map's page sizes are not known on this machine.".to_owned();
    }
    let tone = if holders.is_some_and(|table| !table.rows.is_empty()) { Tone::More } else { Tone::Plain };
    (tone, headline, detail.trim().to_owned())
}

/// Says how much of the map each size of page has, the smallest first.
fn of_map(map: &MemoryMap) -> String {
    let sizes = map.by_page();
    let total: f64 = sizes.iter().map(|(_, bytes)| *bytes as f64).sum();
    if total <= 0.0 {
        return String::new();
    }
    let parts: Vec<String> = sizes
        .iter()
        .map(|(size, bytes)| format!("{} in {}", share(*bytes as f64 / total), page_words(*size)))
        .collect();
    format!("Of the direct map, {}.", join(&parts))
}

fn page_words(size: Option<u64>) -> String {
    size.map_or("no page".to_owned(), |_| format!("pages of {}", page(size)))
}

/// Joins phrases as a sentence does.
fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
