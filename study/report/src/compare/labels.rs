//! Names for the studies of a comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::names::JSON;
use crate::schema::Study;

/// Returns a name for each study file: its folder's where the file has the usual name, else its own, and the whole path
/// where another study would have the same.
pub fn names<P: AsRef<Path>>(paths: &[P]) -> Vec<String> {
    let short = |path: &Path| {
        let is_usual = path.file_name().is_some_and(|name| name == JSON);
        let folder = if path.is_dir() {
            Some(path)
        } else if is_usual {
            path.parent()
        } else {
            None
        };
        let name = match folder {
            // The folder may be given as `.` or as nothing.
            Some(folder) => match folder.file_name() {
                Some(name) => Some(name.to_owned()),
                None => {
                    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                    folder.canonicalize().ok().and_then(|folder| Some(folder.file_name()?.to_owned()))
                }
            },
            None => path.file_stem().map(ToOwned::to_owned),
        };
        name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
    };
    let all: Vec<String> = paths.iter().map(|path| short(path.as_ref())).collect();
    let is_alone = |name: &String| all.iter().filter(|other| *other == name).count() == 1;
    let alone: Vec<bool> = all.iter().map(is_alone).collect();
    all.into_iter()
        .zip(alone)
        .zip(paths)
        .map(|((name, alone), path)| if alone { name } else { path.as_ref().display().to_string() })
        .collect()
}

/// Returns a label for each study: the machine's name, or the CPU's, with the kernel where names are the same. Where
/// these are the same, too, it is the name of the file, and then a number.
pub(super) fn of(studies: &[Study], files: &[String]) -> Vec<String> {
    let plain = |study: &Study| {
        let machine = &study.machine;
        [&machine.name, &machine.cpu]
            .into_iter()
            .find(|name| !name.is_empty())
            .cloned()
            .unwrap_or("a machine".into())
    };
    let mut labels: Vec<String> = studies.iter().map(plain).collect();
    let kernels: Vec<String> = studies.iter().map(|study| study.machine.kernel.clone()).collect();
    tell_apart(&mut labels, &kernels, |label, kernel| format!("{label}, {kernel}"));
    if files.len() == studies.len() {
        tell_apart(&mut labels, files, |_, file| file.to_owned());
    }
    let numbers: Vec<String> = (1..=studies.len()).map(|number| format!("#{number}")).collect();
    tell_apart(&mut labels, &numbers, |label, number| format!("{label}, {number}"));
    labels
}

/// Changes the labels that several studies have, where `more` tells these studies apart.
fn tell_apart(labels: &mut [String], more: &[String], with: impl Fn(&str, &str) -> String) {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (label, more) in labels.iter().zip(more) {
        groups.entry(label).or_default().insert(more);
    }
    let tells: Vec<bool> = labels.iter().map(|label| groups[&**label].len() > 1).collect();
    for ((label, more), tells) in labels.iter_mut().zip(more).zip(tells) {
        if tells && !more.is_empty() {
            *label = with(label, more);
        }
    }
}
