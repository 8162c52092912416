//! Real programs, where they are installed: a database in memory, one on disk, messages between processes, files.
//!
//! Each does a fixed amount of work, in the study's own folder, and gives nanoseconds for each operation: from its own
//! report where it has one, else from the time until it ends.
//!
//! | module | owns |
//! |---|---|
//! | [`redis`] | `redis-benchmark` against a `redis-server` of the study's own |
//! | [`single`] | programs that one command runs: `hackbench` or `perf bench`, `sysbench`, `fio`, `sqlite3` |

pub(crate) mod redis;
pub(crate) mod single;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::time::Duration;

use rhumb_study_report::Omission;
use rhumb_study_system::Session;

/// The time after which a program is taken to hang.
const LIMIT: Duration = Duration::from_secs(120);

/// A real program.
pub(crate) trait Program {
    /// A name that is the same on every machine: `redis`.
    fn id(&self) -> &'static str;
    /// The work, in a few words.
    fn words(&self) -> String;
    /// Runs the program once, and returns nanoseconds for each operation; `None` if the user ends the study.
    ///
    /// # Errors
    /// The program fails or hangs.
    fn sample(&mut self, session: &Session) -> io::Result<Option<f64>>;
}

/// Finds and prepares all programs. Those that are missing or do not start are omissions.
pub(crate) fn all(scratch: &Path, session: &Session) -> (Vec<Box<dyn Program>>, Vec<Omission>) {
    let mut programs: Vec<Box<dyn Program>> = Vec::new();
    let mut omissions = Vec::new();
    let found = [
        redis::Redis::start(scratch, session).map(|found| found.map(|one| Box::new(one) as Box<dyn Program>)),
        single::messages(scratch),
        single::sysbench(scratch, session),
        single::fio(scratch),
        single::sqlite(scratch, session),
    ];
    let names = [
        ("redis", "redis-benchmark and redis-server", "redis-tools and redis-server"),
        ("messages", "hackbench or perf", "rt-tests or linux-perf"),
        ("sysbench", "sysbench", "sysbench"),
        ("fio", "fio", "fio"),
        ("sqlite", "sqlite3", "sqlite3"),
    ];
    for (found, (id, commands, packages)) in found.into_iter().zip(names) {
        let (why, remedy) = match found {
            Ok(Some(program)) => {
                programs.push(program);
                continue;
            }
            Ok(None) => (
                format!("{commands} is not installed."),
                format!("Install it: the packages are {packages} in Debian."),
            ),
            Err(error) => (format!("It does not start: {error}."), "Run it by hand to see why.".to_owned()),
        };
        omissions.push(Omission { part: format!("the program {id}"), why, remedy });
    }
    (programs, omissions)
}
