//! The holders of a survey, one row for each, in the order in which all outputs show them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::survey::Survey;
use crate::proc::process::user_name;
use crate::proc::total;

/// A process that holds secret memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its number.
    pub pid: u32,
    /// Its number in its own name space, if that is another.
    pub inner_pid: Option<u32>,
    /// Its user's name, or number.
    pub user: String,
    /// Its command's name, as the process chose it.
    pub command: String,
    /// Its container.
    pub container: Option<String>,
    /// Descriptors of secret memory.
    pub descriptors: u32,
    /// Mappings of secret memory.
    pub mappings: u32,
    /// Files of secret memory that it holds.
    pub files: u32,
    /// Of those, the ones that another process holds, too.
    pub shared_files: u32,
    /// The size of the files.
    pub bytes: u64,
    /// The bytes that this process has touched through its mappings; `None` where that cannot be read.
    pub touched_bytes: Option<u64>,
    /// When the oldest of the files was made, in seconds since 1970.
    pub since_unix_s: Option<f64>,
}

/// Lists the holders of secret memory, the largest first.
pub fn rows(survey: &Survey) -> Vec<Row> {
    let scan = &survey.scan;
    // A list of users may be long, and many processes have one user.
    let mut users = BTreeMap::new();
    let mut rows: Vec<Row> = scan
        .holders
        .values()
        .map(|holder| {
            let files = || holder.files.iter();
            let made = files().filter_map(|(id, _)| scan.files.get(id)?.made_unix_s).min();
            Row {
                pid: holder.process.pid,
                inner_pid: holder.process.inner_pid,
                user: users
                    .entry(holder.process.uid)
                    .or_insert_with(|| user(&survey.passwd, holder.process.uid))
                    .clone(),
                command: holder.process.command.clone(),
                container: holder.process.container.clone(),
                descriptors: files().map(|(_, hold)| hold.descriptors).sum(),
                mappings: files().map(|(_, hold)| hold.mappings).sum(),
                files: holder.files.len() as u32,
                shared_files: files()
                    .filter(|(id, _)| scan.files.get(id).is_some_and(|file| file.holders > 1))
                    .count() as u32,
                bytes: total(files().filter_map(|(id, _)| Some(scan.files.get(id)?.bytes))),
                touched_bytes: files().try_fold(0u64, |sum, (_, hold)| {
                    match (hold.mappings, hold.touched_bytes) {
                        (0, _) => Some(sum),
                        (_, touched) => Some(touched?.saturating_add(sum)),
                    }
                }),
                since_unix_s: made.map(|made| made as f64).or(holder.process.began_unix_s),
            }
        })
        .collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.bytes), row.pid));
    rows
}

/// Returns a user's name, or the number of a user without one.
pub fn user(passwd: &str, uid: Option<u32>) -> String {
    match uid {
        None => "?".to_owned(),
        Some(uid) => user_name(passwd, uid).map_or_else(|| uid.to_string(), ToOwned::to_owned),
    }
}
