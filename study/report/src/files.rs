//! A study's files: written whole or not at all, and read again.
//!
//! Each file is written under a temporary name in its own folder, synchronised, and renamed, so that a full disk or a
//! crash leaves the file of before or none, and never half of one.

mod csv;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::format::bytes as size;
use crate::names::{EFFECTS, JSON, PAGE, SAMPLES};
use crate::page;
use crate::schema::check::fault;
use crate::schema::{SCHEMA, Study, VERSION};
use crate::terminal::visible;

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
    let study = &*possible(study);
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

/// The largest file that is read, far beyond the largest study.
const LARGEST: u64 = 256 << 20;

/// Reads a study from its JSON file, or from the folder that holds it.
///
/// # Errors
/// The file cannot be read, is no study, is a newer program's, or is damaged: an effect that no trial can have had is
/// damage, too.
pub fn read(path: &Path) -> Result<Study, Error> {
    let within;
    let path = match path.is_dir() {
        true => {
            within = path.join(JSON);
            if !within.exists() {
                return Err(Error::Empty(path.to_owned()));
            }
            &*within
        }
        false => path,
    };
    let bytes = contents(path)?;
    let in_words = |why: serde_json::Error| Error::Damaged { path: path.to_owned(), why: in_words(&why) };
    let foreign = || Error::Foreign(path.to_owned());
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(foreign());
    }
    let head: Head = serde_json::from_slice(&bytes).map_err(in_words)?;
    if head.schema.as_ref().and_then(Value::as_str) != Some(SCHEMA) {
        return Err(foreign());
    }
    match head.version.as_ref().and_then(Value::as_u64) {
        Some(version) if version > u64::from(VERSION) => {
            return Err(Error::Newer { path: path.to_owned(), version });
        }
        _ => {}
    }
    let study: Study = serde_json::from_slice(&bytes).map_err(in_words)?;
    match study.fault() {
        Some(why) => Err(Error::Damaged { path: path.to_owned(), why: visible(&why) }),
        None => Ok(study),
    }
}

/// Reads a regular file of a bounded size. A pipe may never end, and neither does `/dev/zero`.
fn contents(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |why| Error::Read { path: path.to_owned(), why };
    // A pipe is not opened, because opening one waits for its writer.
    let about = fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(Error::Special(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path).map_err(failed)?.take(LARGEST + 1);
    if about.len() <= LARGEST {
        file.read_to_end(&mut bytes).map_err(failed)?;
    }
    // Files of /proc have no length beforehand.
    if about.len() > LARGEST || bytes.len() as u64 > LARGEST {
        return Err(Error::TooLarge { path: path.to_owned(), most: size(LARGEST as f64) });
    }
    Ok(bytes)
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

/// Returns the study without effects that are impossible: JSON has no infinite numbers, and a file with an impossible
/// effect could not be read again.
fn possible(study: &Study) -> Cow<'_, Study> {
    let mut study = Cow::Borrowed(study);
    if study.fault().is_some() {
        let study = study.to_mut();
        let controls = study.controls.iter_mut().map(|control| &mut control.comparison);
        for comparison in study.comparisons.iter_mut().chain(controls) {
            let is_sampled = !comparison.baseline_samples.is_empty() && !comparison.arm_samples.is_empty();
            comparison.effect = comparison.effect.filter(|effect| is_sampled && fault(effect).is_none());
        }
    }
    study
}
