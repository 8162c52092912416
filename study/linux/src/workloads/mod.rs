//! System calls whose data lie in the kernel's direct map.
//!
//! | module | owns |
//! |---|---|
//! | [`cached`] | reads of random pages of the page cache |
//! | [`channels`] | pipes, UNIX sockets, TCP on the loopback device |
//! | [`inodes`] | `stat` over many files |
//! | [`processes`] | page faults, `fork` with exit |
//! | [`reference`] | work that no direct map can touch: a control |
//!
//! A workload is made once, and keeps its memory until the study ends. A sample repeats its operation for a short time,
//! and gives nanoseconds for each.

pub(crate) mod cached;
pub(crate) mod channels;
pub(crate) mod inodes;
pub(crate) mod processes;
pub(crate) mod reference;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rhumb_study_report::Omission;

/// A piece of work that is done again and again.
pub(crate) trait Workload {
    /// A name that is the same on every machine: `pread-64b`.
    fn id(&self) -> &'static str;
    /// The work, in a few words.
    fn words(&self) -> String;
    /// Returns the file in memory that the work reads, if there is one.
    fn file(&self) -> Option<&File> {
        None
    }
    /// Does the work so many times.
    ///
    /// # Errors
    /// The system's.
    fn run(&mut self, times: u32) -> io::Result<()>;
}

/// A workload with as many repetitions as make one sample.
pub(crate) struct Timed {
    workload: Box<dyn Workload>,
    times: u32,
}

impl Timed {
    /// Finds out how many repetitions take `time`.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(mut workload: Box<dyn Workload>, time: Duration) -> io::Result<Self> {
        let mut times = 1;
        loop {
            let began = Instant::now();
            workload.run(times)?;
            let took = began.elapsed();
            if took >= time / 4 || times >= 1 << 24 {
                let ratio = time.as_secs_f64() / took.as_secs_f64().max(1e-9);
                let times = (f64::from(times) * ratio).clamp(1.0, f64::from(1 << 24));
                return Ok(Self { workload, times: times as u32 });
            }
            times *= 2;
        }
    }

    /// Returns the workload.
    pub(crate) fn workload(&self) -> &dyn Workload {
        &*self.workload
    }

    /// Returns how often the work is done for one sample.
    pub(crate) fn times(&self) -> u32 {
        self.times
    }

    /// Takes a sample: nanoseconds for each repetition.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn sample(&mut self) -> io::Result<f64> {
        let began = Instant::now();
        self.workload.run(self.times)?;
        Ok(began.elapsed().as_secs_f64() * 1e9 / f64::from(self.times))
    }
}

/// The sizes of the workloads' data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sizes {
    /// Bytes of cached file that are read at random places.
    pub(crate) cached_bytes: u64,
    /// Files that are asked for their attributes.
    pub(crate) files: u32,
    /// Bytes that a forking process has touched.
    pub(crate) forked_bytes: usize,
    /// The time of one sample.
    pub(crate) sample: Duration,
}

/// Makes all workloads. `scratch` is a folder for their files. Those that this machine lacks are omissions.
pub(crate) fn all(sizes: &Sizes, scratch: &Path, seed: u64) -> (Vec<Timed>, Vec<Omission>) {
    type Maker<'a> = Box<dyn Fn() -> io::Result<Box<dyn Workload>> + 'a>;
    let makers: [(&str, Maker<'_>); 9] = [
        ("pread-64b", Box::new(|| boxed(cached::Pread::new(sizes.cached_bytes, cached::Length::Line, seed)))),
        ("pread-4k", Box::new(|| boxed(cached::Pread::new(sizes.cached_bytes, cached::Length::Page, seed)))),
        ("pipe-4k", Box::new(|| boxed(channels::Channel::pipe()))),
        ("unix-4k", Box::new(|| boxed(channels::Channel::unix()))),
        ("tcp-4k", Box::new(|| boxed(channels::Channel::tcp()))),
        ("stat", Box::new(|| boxed(inodes::Stat::new(scratch, sizes.files, seed)))),
        ("fault", Box::new(|| boxed(Ok(processes::Faults)))),
        (reference::ID, Box::new(|| boxed(Ok(reference::Reference::new(seed))))),
        ("fork", Box::new(|| boxed(processes::Forks::new(sizes.forked_bytes)))),
    ];
    let mut timed = Vec::new();
    let mut omissions = Vec::new();
    for (id, make) in makers {
        match make().and_then(|workload| Timed::new(workload, sizes.sample)) {
            Ok(workload) => timed.push(workload),
            Err(error) => omissions.push(Omission {
                part: format!("the workload {id}"),
                why: format!("The system refused it: {error}."),
                remedy: "Run the study outside of the sandbox that forbids it, or free memory.".to_owned(),
            }),
        }
    }
    (timed, omissions)
}

fn boxed(workload: io::Result<impl Workload + 'static>) -> io::Result<Box<dyn Workload>> {
    workload.map(|workload| Box::new(workload) as Box<dyn Workload>)
}
