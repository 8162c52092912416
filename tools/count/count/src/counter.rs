//! [`Counter`]: follows each CPU, and adds up what executes in the regions that are open.
//!
//! Cost: some hash-table operations for each instruction while a region is open; the caller leaves instructions out
//! while none is ([`Counter::is_idle`]).

use std::collections::HashSet;

use rhumb_mark::{Mark, RegionId};

use crate::instruction::Instruction;
use crate::report::{Executed, Fault, FaultKind, Place, Report, Sample, Side};

/// Bytes of a cache line, as a shift.
const LINE_SHIFT: u32 = 6;

/// The kind of an access to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Loads.
    Read,
    /// Stores.
    Write,
}

/// Counts for any number of CPUs.
#[derive(Default, Debug)]
pub struct Counter {
    cpus: Vec<Cpu>,
    report: Report,
}

/// The state of one CPU.
#[derive(Default, Debug)]
struct Cpu {
    /// Innermost last.
    open: Vec<Open>,
    /// The repeated string instruction that this CPU executed last, if that is what it executed last.
    repeating: Option<u64>,
}

/// A region between its marks.
#[derive(Debug)]
struct Open {
    id: RegionId,
    sample: Sample,
    code: HashSet<u64>,
    data: HashSet<u64>,
}

impl Counter {
    /// Tells whether no region is open on any CPU: instructions and accesses then change nothing.
    pub fn is_idle(&self) -> bool {
        self.cpus.iter().all(|cpu| cpu.open.is_empty())
    }

    /// `cpu` executes a mark.
    pub fn mark(&mut self, cpu: usize, mark: Mark) {
        match mark {
            Mark::Begin(id) => self.begin(cpu, id),
            Mark::End(id) => self.end(cpu, id),
        }
    }

    fn begin(&mut self, cpu: usize, id: RegionId) {
        if self.is_idle() {
            // No CPU was watched: the instructions that they executed last are not known.
            self.cpus.iter_mut().for_each(|cpu| cpu.repeating = None);
        }
        let here = self.cpu(cpu);
        here.repeating = None;
        if here.open.iter().any(|open| open.id == id) {
            return self.report.faults.push(Fault { kind: FaultKind::BegunTwice, cpu, id });
        }
        let sample = Sample { cpu, ..Sample::default() };
        here.open.push(Open { id, sample, code: HashSet::new(), data: HashSet::new() });
    }

    fn end(&mut self, cpu: usize, id: RegionId) {
        let here = self.cpu(cpu);
        here.repeating = None;
        let Some(index) = here.open.iter().rposition(|open| open.id == id) else {
            return self.report.faults.push(Fault { kind: FaultKind::NotBegun, cpu, id });
        };
        let Open { mut sample, code, data, .. } = here.open.remove(index);
        sample.code_lines = code.len() as u64;
        sample.data_lines = data.len() as u64;
        self.report.regions.entry(id).or_default().samples.push(sample);
    }

    /// `cpu` begins to execute an instruction that is no mark.
    pub fn execute(&mut self, cpu: usize, instruction: Instruction) {
        let here = self.cpu(cpu);
        let goes_on = instruction.repeats && here.repeating == Some(instruction.address);
        here.repeating = instruction.repeats.then_some(instruction.address);
        let step = if goes_on { Executed::ITERATION } else { Executed::INSTRUCTION };
        let last_byte = instruction.address.wrapping_add(u64::from(instruction.bytes.max(1)) - 1);

        let regions = &mut self.report.regions;
        for (index, watched) in self.cpus.iter_mut().enumerate() {
            let side = if index == cpu { Side::Here } else { Side::Elsewhere };
            for open in &mut watched.open {
                match side {
                    Side::Here => {
                        open.sample.here += step;
                        open.code.extend([instruction.address >> LINE_SHIFT, last_byte >> LINE_SHIFT]);
                    }
                    Side::Elsewhere => open.sample.elsewhere += step,
                }
                let place = Place { side, address: instruction.address };
                *regions.entry(open.id).or_default().places.entry(place).or_default() += step;
            }
        }
    }

    /// The instruction that `cpu` executes touches `bytes` bytes of memory from `address` on.
    pub fn access(&mut self, cpu: usize, address: u64, bytes: u64, access: Access) {
        let last_byte = address.wrapping_add(bytes.max(1) - 1);
        for open in &mut self.cpu(cpu).open {
            match access {
                Access::Read => open.sample.reads += 1,
                Access::Write => open.sample.writes += 1,
            }
            open.data.extend([address >> LINE_SHIFT, last_byte >> LINE_SHIFT]);
        }
    }

    /// Ends the count and returns the report. Regions that are still open are faults.
    pub fn finish(&mut self) -> Report {
        let mut report = std::mem::take(&mut self.report);
        for (cpu, state) in std::mem::take(&mut self.cpus).into_iter().enumerate() {
            let open = state.open.into_iter();
            report.faults.extend(open.map(|open| Fault { kind: FaultKind::NotEnded, cpu, id: open.id }));
        }
        report
    }

    fn cpu(&mut self, index: usize) -> &mut Cpu {
        if index >= self.cpus.len() {
            self.cpus.resize_with(index + 1, Cpu::default);
        }
        &mut self.cpus[index]
    }
}
