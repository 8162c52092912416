//! `stat` over many files: names, inodes and their caches lie in the direct map.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rustix::fs::{AtFlags, Mode, OFlags, open, statat};

use super::Workload;

/// `stat` of files in random order.
#[derive(Debug)]
pub(crate) struct Stat {
    folder: OwnedFd,
    names: Vec<CString>,
    next: usize,
}

impl Stat {
    /// Makes `files` empty files in a folder of `scratch`.
    ///
    /// # Errors
    /// The system's: a full disk, for example.
    pub(crate) fn new(scratch: &Path, files: u32, seed: u64) -> io::Result<Self> {
        let path = scratch.join("files");
        fs::create_dir_all(&path)?;
        let mut names = Vec::new();
        for number in 0..files {
            let name = format!("{number:08}");
            File::create(path.join(&name))?;
            names.push(CString::new(name)?);
        }
        names.shuffle(&mut Pcg64Mcg::seed_from_u64(seed));
        let folder = open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { folder, names, next: 0 })
    }
}

impl Workload for Stat {
    fn id(&self) -> &'static str {
        "stat"
    }

    fn words(&self) -> String {
        format!("stat of random files of {}", self.names.len())
    }

    fn run(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            let Some(name) = self.names.get(self.next) else { return Ok(()) };
            self.next = if self.next + 1 < self.names.len() { self.next + 1 } else { 0 };
            statat(&self.folder, name, AtFlags::empty())?;
        }
        Ok(())
    }
}
