//! A study's files: written whole or not at all, and read again.
//!
//! Each file is written under a temporary name in its own folder, synchronised, and renamed, so that a full disk or a
//! crash leaves the file of before or none, and never half of one.

mod csv;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::names::{EFFECTS, JSON, PAGE, SAMPLES};
use crate::page;
use crate::schema::{SCHEMA, Study, VERSION};

/// The files that were written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The whole study.
    pub json: PathBuf,
    /// One line for each sample.
    pub samples: PathBuf,
    /// One line for each comparison and control.
    pub effects: PathBuf,
    /// The page to look at.
    pub page: PathBuf,
}

/// Writes a study's files into `folder`, which is made where it is missing. The JSON file goes first, because the others
/// can be made of it.
///
/// # Errors
/// The system's refusal, or a full disk. Files of an earlier study stay as they were, or are replaced as a whole.
pub fn write(study: &Study, folder: &Path) -> Result<Written, Error> {
    fs::create_dir_all(folder).map_err(|why| Error::write(folder, why))?;
    let study = &*finite(study);
    let json = replace(&folder.join(JSON), |out| {
        serde_json::to_writer_pretty(&mut *out, study)?;
        out.write_all(b"\n")
    })?;
    let samples = replace(&folder.join(SAMPLES), |out| csv::samples(study, out))?;
    let effects = replace(&folder.join(EFFECTS), |out| csv::effects(study, out))?;
    let html = page::page(study)?;
    let page = replace(&folder.join(PAGE), |out| out.write_all(html.as_bytes()))?;
    Ok(Written { json, samples, effects, page })
}

/// Reads a study from its JSON file.
///
/// # Errors
/// The file cannot be read, is no study, is a newer program's, or is damaged.
pub fn read(path: &Path) -> Result<Study, Error> {
    let bytes = fs::read(path).map_err(|why| Error::Read { path: path.to_owned(), why })?;
    let damaged = |why: serde_json::Error| Error::Damaged { path: path.to_owned(), why: in_words(&why) };
    let foreign = || Error::Foreign(path.to_owned());
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(foreign());
    }
    let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
    if head.schema.as_ref().and_then(Value::as_str) != Some(SCHEMA) {
        return Err(foreign());
    }
    match head.version.as_ref().and_then(Value::as_u64) {
        Some(version) if version > u64::from(VERSION) => {
            return Err(Error::Newer { path: path.to_owned(), version });
        }
        _ => {}
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}

/// The fields that tell what a file is.
#[derive(Deserialize)]
struct Head {
    schema: Option<Value>,
    version: Option<Value>,
}

/// Says where JSON is at fault, and how.
fn in_words(why: &serde_json::Error) -> String {
    if why.is_eof() {
        return format!("it ends in its middle, at line {}", why.line());
    }
    why.to_string()
}

/// Writes a file under a temporary name beside `path`, and gives it its name once all of it is on the disk.
pub(crate) fn replace(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<PathBuf, Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> io::Result<()> {
        // As readable as the user's other files, rather than private as temporary files are.
        let permissions = Permissions::from_mode(0o666);
        let file = tempfile::Builder::new().prefix(".study-").permissions(permissions).tempfile_in(folder)?;
        let mut out = BufWriter::new(file);
        fill(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    written().map_err(|why| Error::write(path, why))?;
    Ok(path.to_owned())
}

/// Returns the study without effects that are no numbers. JSON has no such numbers, and a file with one could not be
/// read again.
fn finite(study: &Study) -> Cow<'_, Study> {
    let is_odd = |comparison: &crate::Comparison| {
        comparison.effect.as_ref().is_some_and(|effect| {
            let numbers =
                [effect.ratio, effect.low, effect.high, effect.p, effect.p_adjusted, effect.confidence];
            let ends = effect.adjusted.map_or([1.0; 2], |adjusted| [adjusted.low, adjusted.high]);
            let rest = ends.into_iter().chain(effect.smallest_detectable);
            !numbers.into_iter().chain(rest).all(f64::is_finite)
        })
    };
    let mut study = Cow::Borrowed(study);
    let controls = study.controls.iter().map(|control| &control.comparison);
    if study.comparisons.iter().chain(controls).any(is_odd) {
        let study = study.to_mut();
        let controls = study.controls.iter_mut().map(|control| &mut control.comparison);
        study
            .comparisons
            .iter_mut()
            .chain(controls)
            .filter(|one| is_odd(one))
            .for_each(|one| one.effect = None);
    }
    study
}
