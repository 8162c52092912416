//! The models, region by region.

use rhumb_mark::{Mark, RegionId};
use rhumb_tlb_model::{Access, Flush, Geometry, Model, Purpose, Side, WrongGeometry};

use crate::guest::{GuestTables, Once, PhysicalMemory};
use crate::place::Place;
use crate::report::{Content, Report, Sums};

const PAGE_SHIFT: u32 = 12;

/// A model for each CPU and geometry.
pub struct Tracer<M> {
    memory: M,
    geometries: Vec<Geometry>,
    cpus: Vec<Cpu>,
    /// The CR3 of the CPU that said one last. All kernels' halves are alike, so it serves CPUs that said none.
    root: Option<u64>,
    report: Report,
}

#[derive(Default)]
struct Cpu {
    root: Option<u64>,
    models: Vec<Model>,
    sums: Vec<Sums>,
    flushed_pages: u64,
    full_flushes: u64,
    open: Vec<Open>,
}

/// A region between its marks: all counts when it began.
struct Open {
    id: RegionId,
    here: Vec<Sums>,
    all: Vec<Sums>,
    flushes: (u64, u64),
}

impl<M: PhysicalMemory> Tracer<M> {
    /// Makes a tracer of a guest with this memory.
    ///
    /// # Errors
    /// A geometry that is none.
    pub fn new(memory: M, geometries: Vec<Geometry>) -> Result<Self, WrongGeometry> {
        geometries.iter().try_for_each(Geometry::check)?;
        let report =
            Report { geometries: geometries.iter().map(|one| one.id.clone()).collect(), ..Report::default() };
        Ok(Self { memory, geometries, cpus: Vec::new(), root: None, report })
    }

    /// Returns the guest's memory, to be made ready.
    pub fn memory_mut(&mut self) -> &mut M {
        &mut self.memory
    }

    /// Tells whether the first mark has come, from which on all accesses matter.
    pub fn is_armed(&self) -> bool {
        self.root.is_some()
    }

    /// `cpu` executes a mark, with this value in CR3. A mark that does not pair is ignored: the counter reports it.
    pub fn mark(&mut self, cpu: usize, mark: Mark, cr3: u64) {
        self.load_root(cpu, cr3);
        match mark {
            Mark::Begin(id) => {
                let (here, all, flushes) = (self.cpu(cpu).sums.clone(), self.all(), self.flushes());
                self.cpu(cpu).open.push(Open { id, here, all, flushes });
            }
            Mark::End(id) => {
                let open = &mut self.cpu(cpu).open;
                let Some(index) = open.iter().rposition(|open| open.id == id) else { return };
                let open = open.remove(index);
                self.end(cpu, &open);
            }
        }
    }

    fn end(&mut self, cpu: usize, open: &Open) {
        let (here, all, flushes) = (self.cpu(cpu).sums.clone(), self.all(), self.flushes());
        let region = self.report.regions.entry(open.id).or_default();
        region.here.resize(self.geometries.len(), Sums::default());
        region.elsewhere.resize(self.geometries.len(), Sums::default());
        region.runs += 1;
        region.flushed_pages += flushes.0 - open.flushes.0;
        region.full_flushes += flushes.1 - open.flushes.1;
        for (index, (here, all)) in here.into_iter().zip(all).enumerate() {
            let here = here - open.here[index];
            region.here[index] += here;
            region.elsewhere[index] += all - open.all[index] - here;
        }
    }

    /// `cpu` begins a block of instructions that lie on the page of `address`.
    pub fn fetch(&mut self, cpu: usize, address: u64) {
        self.follow(cpu, address, Purpose::Fetch);
    }

    /// `cpu` loads or stores `bytes` bytes from `address` on.
    pub fn access(&mut self, cpu: usize, address: u64, bytes: u64, purpose: Purpose) {
        self.follow(cpu, address, purpose);
        let last = address.wrapping_add(bytes.max(1) - 1);
        if last >> PAGE_SHIFT != address >> PAGE_SHIFT {
            self.follow(cpu, last, purpose);
        }
    }

    fn follow(&mut self, cpu: usize, address: u64, purpose: Purpose) {
        self.cpu(cpu);
        let Some(state) = self.cpus.get_mut(cpu) else { return };
        let Some(root) = state.root.or(self.root) else { return };
        let place = Place::of(address);
        let side = if place == Place::User { Side::User } else { Side::Kernel };
        let content = if purpose == Purpose::Fetch { Content::Code } else { Content::Data };
        let mut tables = Once::new(GuestTables::new(&self.memory, root));
        for (model, sums) in state.models.iter_mut().zip(&mut state.sums) {
            let outcome = model.access(Access { address, purpose, side }, &mut tables);
            sums.of_mut(place, content).note(outcome);
        }
    }

    /// `cpu` drops translations.
    pub fn flush(&mut self, cpu: usize, flush: Flush) {
        let state = self.cpu(cpu);
        match flush {
            Flush::Page(_) => state.flushed_pages += 1,
            _ => state.full_flushes += 1,
        }
        state.models.iter_mut().for_each(|model| model.flush(flush));
    }

    /// `cpu` has this value in CR3 from now on.
    pub fn load_root(&mut self, cpu: usize, cr3: u64) {
        self.cpu(cpu).root = Some(cr3);
        self.root = Some(cr3);
    }

    /// Returns all counts.
    pub fn report(&self) -> &Report {
        &self.report
    }

    fn all(&self) -> Vec<Sums> {
        let mut all = vec![Sums::default(); self.geometries.len()];
        for cpu in &self.cpus {
            all.iter_mut().zip(&cpu.sums).for_each(|(sum, more)| *sum += *more);
        }
        all
    }

    fn flushes(&self) -> (u64, u64) {
        self.cpus
            .iter()
            .fold((0, 0), |(pages, full), cpu| (pages + cpu.flushed_pages, full + cpu.full_flushes))
    }

    fn cpu(&mut self, index: usize) -> &mut Cpu {
        while self.cpus.len() <= index {
            // All geometries were checked when the tracer was made.
            let models = self.geometries.iter().filter_map(|geometry| Model::new(geometry).ok()).collect();
            let sums = vec![Sums::default(); self.geometries.len()];
            self.cpus.push(Cpu { models, sums, ..Cpu::default() });
        }
        &mut self.cpus[index]
    }
}

#[cfg(test)]
mod tests;
