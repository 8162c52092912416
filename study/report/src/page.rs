//! The page: a study as one self-contained HTML file.

use maud::{DOCTYPE, html};

use crate::error::Error;
use crate::schema::Study;
use crate::verdict::verdict;

/// Returns the page of a study.
///
/// # Errors
/// A chart cannot be drawn.
pub(crate) fn page(study: &Study) -> Result<String, Error> {
    let verdict = verdict(study);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (verdict.headline) } }
            body { h1 { (verdict.headline) } p { (verdict.detail) } }
        }
    };
    Ok(page.into_string())
}
