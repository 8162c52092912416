//! The cost of beginning: initialisation, and metadata per frame.

use super::subject::FrameSubject;
use super::{Setting, Workload};
use crate::clock::ticks;
use crate::driver::{Better, Outcome, Sample};

/// A fresh allocator. Its storage is there and touched before the clock starts.
#[derive(Clone, Copy)]
pub(super) struct Init;

impl Workload for Init {
    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let storage = S::storage(&setting.region)?;
        let (subject, ticks) = setting.region.on_boot_cpu(|| {
            let start = ticks();
            let subject = S::new(&setting.region, storage);
            (subject, ticks() - start)
        })?;
        let subject = subject?;
        let mut samples = vec![Sample::ns("time", setting.clock.ns(ticks))];
        if let Some(bytes) = subject.metadata_bytes() {
            let value = bytes as f64 / setting.region.frames().frames() as f64;
            samples.push(Sample::of("metadata", "B/frame", Better::Lower, value));
        }
        Ok(samples)
    }
}
