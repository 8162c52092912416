//! Page faults, and `fork` with exit: the kernel zeroes and copies pages and page tables through its direct map.
#![expect(unsafe_code, reason = "fork has no safe wrapper")]

use std::io;

use memmap2::MmapMut;
use rustix::process::{Pid, WaitOptions, waitpid};

use super::Workload;
use crate::proc::counters::KIB_4;

/// Pages of one mapping that is touched.
const PAGES: usize = 64;

/// Faults of fresh pages, with their share of a mapping and its end.
#[derive(Debug)]
pub(crate) struct Faults;

impl Workload for Faults {
    fn id(&self) -> &'static str {
        "fault"
    }

    fn words(&self) -> String {
        format!("mapping, touching and unmapping {PAGES} pages")
    }

    fn run(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            let mut map = MmapMut::map_anon(PAGES * KIB_4 as usize)?;
            let _ = map.advise(memmap2::Advice::NoHugePage);
            map.iter_mut().step_by(KIB_4 as usize).for_each(|byte| *byte = 1);
            std::hint::black_box(&mut map);
        }
        Ok(())
    }
}

/// `fork` of a process with touched memory, whose child ends at once.
#[derive(Debug)]
pub(crate) struct Forks {
    touched: MmapMut,
}

impl Forks {
    /// Touches `bytes`, whose page tables each fork copies.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let mut touched = MmapMut::map_anon(bytes)?;
        let _ = touched.advise(memmap2::Advice::NoHugePage);
        touched.iter_mut().step_by(KIB_4 as usize).for_each(|byte| *byte = 1);
        Ok(Self { touched })
    }
}

impl Workload for Forks {
    fn id(&self) -> &'static str {
        "fork"
    }

    fn words(&self) -> String {
        format!("fork, exit and wait of a process with {}", crate::who::show::size(self.touched.len() as u64))
    }

    fn run(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            // SAFETY: the child calls `_exit` and nothing else, which is safe after a fork of any process.
            let pid = unsafe {
                match libc::fork() {
                    0 => libc::_exit(0),
                    pid => pid,
                }
            };
            let pid = Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error)?;
            while let Err(error) = waitpid(Some(pid), WaitOptions::empty()) {
                if error != rustix::io::Errno::INTR {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}
