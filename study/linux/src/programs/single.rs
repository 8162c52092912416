//! Programs that one command runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rhumb_study_system::Session;

use super::{LIMIT, Program};
use crate::children::{Outcome, find, run};

/// How a program's time is known, in nanoseconds for each operation.
type Reader = fn(words: &str) -> Option<f64>;

/// A program that one command runs.
pub(crate) struct Single {
    id: &'static str,
    words: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    scratch: PathBuf,
    operations: u32,
    reader: Option<Reader>,
}

impl Program for Single {
    fn id(&self) -> &'static str {
        self.id
    }

    fn words(&self) -> String {
        self.words.to_owned()
    }

    fn sample(&mut self, session: &Session) -> io::Result<Option<f64>> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        match run(command, &self.scratch, LIMIT, session)? {
            Outcome::Cancelled => Ok(None),
            Outcome::Ended(took, words) => match self.reader {
                None => Ok(Some(took.as_secs_f64() * 1e9 / f64::from(self.operations))),
                Some(reader) => reader(&words)
                    .map(Some)
                    .ok_or_else(|| io::Error::other("its report has another form than is known")),
            },
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(ToOwned::to_owned).collect()
}

type Found = io::Result<Option<Box<dyn Program>>>;

/// Messages among many processes through UNIX sockets: `hackbench`, or the same in `perf bench`. Each of 2 groups has 20
/// senders and 20 receivers; a sender sends 50 messages to each receiver of its group.
pub(crate) fn messages(scratch: &Path) -> Found {
    const MESSAGES: u32 = 2 * 20 * 20 * 50;
    let single = |program, arguments, reader| Single {
        id: "messages",
        words: "hackbench: 40 processes send to 40 others",
        program,
        arguments: words(arguments),
        scratch: scratch.to_owned(),
        operations: MESSAGES,
        reader: Some(reader),
    };
    let one = find("hackbench").map(|program| single(program, "-g 2 -f 20 -l 50", hackbench_ns as Reader));
    let other = || {
        let program = find("perf")?;
        Some(single(program, "bench -f simple sched messaging -g 2 -l 50", perf_ns as Reader))
    };
    Ok(one.or_else(other).map(|single| Box::new(single) as Box<dyn Program>))
}

/// Reads `Time: 0.123`, which are seconds.
pub(crate) fn hackbench_ns(words: &str) -> Option<f64> {
    let seconds: f64 = words.lines().find_map(|line| line.strip_prefix("Time:")?.trim().parse().ok())?;
    Some(seconds * 1e9 / 40_000.0).filter(|ns| *ns > 0.0)
}

/// Reads a line that is a number of seconds alone.
pub(crate) fn perf_ns(words: &str) -> Option<f64> {
    let seconds: f64 = words.lines().find_map(|line| line.trim().parse().ok())?;
    Some(seconds * 1e9 / 40_000.0).filter(|ns| *ns > 0.0)
}

/// Random reads of cached files by `sysbench`.
///
/// # Errors
/// The program cannot prepare its files.
pub(crate) fn sysbench(scratch: &Path, session: &Session) -> Found {
    let Some(program) = find("sysbench") else { return Ok(None) };
    let common = "fileio --file-total-size=64M --file-num=8 --file-test-mode=rndrd --time=0 --events=100000 --threads=1";
    let folder = scratch.join("sysbench");
    fs::create_dir_all(&folder)?;
    let mut prepare = Command::new(&program);
    prepare.args(common.split(' ')).arg("prepare");
    run(prepare, &folder, LIMIT, session)?;
    Ok(Some(Box::new(Single {
        id: "sysbench",
        words: "sysbench: random reads of 16 KiB from 64 MiB of cached files",
        program,
        arguments: words(&format!("{common} run")),
        scratch: folder,
        operations: 100_000,
        reader: Some(sysbench_ns),
    })))
}

/// Reads `total time: 0.5s`, the time of 100,000 events.
pub(crate) fn sysbench_ns(words: &str) -> Option<f64> {
    let seconds: f64 = words
        .lines()
        .find_map(|line| line.trim().strip_prefix("total time:")?.trim().strip_suffix('s')?.parse().ok())?;
    Some(seconds * 1e9 / 100_000.0).filter(|ns| *ns > 0.0)
}

/// Random reads of a cached file by `fio`.
///
/// # Errors
/// None: the program makes its file in its first run.
pub(crate) fn fio(scratch: &Path) -> Found {
    let Some(program) = find("fio") else { return Ok(None) };
    let arguments = "--name=study --filename=fio.data --size=64M --rw=randread --bs=4k --ioengine=psync --invalidate=0 \
                     --pre_read=1 --number_ios=100000 --norandommap --randrepeat=1 --thread --output-format=json";
    Ok(Some(Box::new(Single {
        id: "fio",
        words: "fio: random reads of 4 KiB from 64 MiB of a cached file",
        program,
        arguments: words(arguments),
        scratch: scratch.to_owned(),
        operations: 100_000,
        reader: Some(fio_ns),
    })))
}

/// Reads the mean time of a read from `fio`'s JSON. Lines before it are warnings.
pub(crate) fn fio_ns(words: &str) -> Option<f64> {
    let json = &words[words.find('{')?..];
    let report = serde_json::Deserializer::from_str(json).into_iter::<serde_json::Value>().next()?.ok()?;
    let ns = report.get("jobs")?.get(0)?.get("read")?.get("lat_ns")?.get("mean")?.as_f64()?;
    Some(ns).filter(|ns| *ns > 0.0)
}

/// Rows of the table that `sqlite3` reads, and rows that it reads in one sample.
const ROWS: u32 = 100_000;

/// Look-ups by key in a table of SQLite, which reads its file through the page cache.
///
/// # Errors
/// The program cannot make its file.
pub(crate) fn sqlite(scratch: &Path, session: &Session) -> Found {
    let Some(program) = find("sqlite3") else { return Ok(None) };
    let make = format!(
        "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; DROP TABLE IF EXISTS t; \
         CREATE TABLE t(k INTEGER PRIMARY KEY, v BLOB); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
         INSERT INTO t SELECT i, randomblob(400) FROM n;"
    );
    let mut prepare = Command::new(&program);
    prepare.args(["-batch", "study.sqlite", &make]);
    run(prepare, scratch, LIMIT, session)?;
    // A cache of 10 pages, so that each look-up reads the file; a fixed walk over all keys in an order that jumps.
    let ask = format!(
        "PRAGMA mmap_size=0; PRAGMA cache_size=10; \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
         SELECT sum(length(v)) FROM n JOIN t ON t.k = (n.i * 48271) % {ROWS} + 1;"
    );
    Ok(Some(Box::new(Single {
        id: "sqlite",
        words: "sqlite3: look-ups by key in a table of 45 MiB",
        program,
        arguments: vec!["-batch".to_owned(), "study.sqlite".to_owned(), ask],
        scratch: scratch.to_owned(),
        operations: ROWS,
        reader: None,
    })))
}
