//! The exact check of every structure, for tests and the monitor. It is slow, but goes in small steps, so that the
//! machine may go on.

use core::fmt;

use rhumb_machine::{CpuId, Machine, Pfn, Pinned};

use crate::depot::SharedDepot;
use crate::magazine::{Magazine, Round, Stack};
use crate::memory::{FRAME_BYTES, PageType};
use crate::node::{EMPTY, Node, bin_of};
use crate::record::Record;
use crate::slab::SlabRef;
use crate::slabs::Slabs;
use crate::spec::Name;

/// The things that do not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inconsistency {
    /// A slab's count of free slots (the second) is not that of its bits (the third).
    FreeCount(Name, u32, u32),
    /// A slab is in the first bin and belongs in the second.
    WrongBin(Name, usize, usize),
    /// A slab's neighbours in its bin do not agree with it.
    Links(Name),
    /// The node counts the first number of slabs or free slots, and has the second.
    NodeCount(Name, u64, u64),
    /// The frame's descriptor does not lead to the slab that has it.
    Descriptor(Name, Pfn),
    /// An object in a magazine is free in its slab, in no slab of this cache, or in the magazine twice.
    Magazine(Name, usize),
    /// A magazine holds more rounds than it may.
    Overfull(Name, u32),
    /// The depot of the node has an object of another node.
    OtherNode(Name, usize, usize),
    /// The CPU has magazines, and is not listed among those that may have some.
    Unlisted(Name, CpuId),
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FreeCount(name, count, bits) => {
                write!(f, "{name}: a slab counts {count} free slots and has {bits}")
            }
            Self::WrongBin(name, is, should) => {
                write!(f, "{name}: a slab of bin {should} is in bin {is}")
            }
            Self::Links(name) => write!(f, "{name}: a list of slabs is broken"),
            Self::NodeCount(name, count, is) => write!(f, "{name}: a node counts {count} and has {is}"),
            Self::Descriptor(name, pfn) => {
                write!(f, "{name}: the descriptor of frame {pfn} leads elsewhere")
            }
            Self::Magazine(name, object) => {
                write!(f, "{name}: {object:#x} in a magazine is not out, or twice")
            }
            Self::Overfull(name, rounds) => write!(f, "{name}: a magazine holds {rounds} rounds"),
            Self::OtherNode(name, node, object) => {
                write!(f, "{name}: {object:#x} in the depot of node {node} is another node's")
            }
            Self::Unlisted(name, cpu) => write!(f, "{name}: CPU {cpu} has magazines and is not listed"),
        }
    }
}

impl core::error::Error for Inconsistency {}

impl<M: Machine> Slabs<M> {
    /// Checks every cache: its slabs, its depots, and this CPU's magazines. Other CPUs' magazines are theirs, and are
    /// not looked at: each CPU checks its own. Other CPUs may go on meanwhile; the counts of a node are compared only
    /// if nothing happened in it since the walk began. Cost: reads every header, one at each visit to its node's lock.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn validate(&self, pinned: Pinned<'_>) -> Result<(), Inconsistency> {
        self.caches(|record| self.validate_cache(record, pinned)).collect()
    }

    fn validate_cache(&self, record: &'static Record, pinned: Pinned<'_>) -> Result<(), Inconsistency> {
        for index in 0..record.node_count() {
            self.validate_node(record, index)?;
        }
        for (node, depot) in record.depots() {
            self.validate_depot(record, node, depot)?;
        }
        self.validate_line(record, pinned)
    }

    fn validate_node(&self, record: &Record, index: usize) -> Result<(), Inconsistency> {
        let census = || record.node(self.machine().irq_off(), index).census();
        let (name, before) = (record.setup.name, census());
        let (mut slabs, mut empty, mut free) = (0, 0, 0);
        self.walk_slabs(record, index, 1, |node, slab, _| {
            free += u64::from(self.validate_slab(record, node, slab)?);
            slabs += 1;
            empty += u64::from(slab.bin() == EMPTY);
            Ok(())
        })?;
        if census() != before {
            return Ok(());
        }
        let counts =
            [(u64::from(before.slabs), slabs), (u64::from(before.empty_slabs), empty), (before.free, free)];
        match counts.into_iter().find(|(count, is)| count != is) {
            Some((count, is)) => Err(Inconsistency::NodeCount(name, count, is)),
            None => Ok(()),
        }
    }

    /// Checks a slab, whose node is locked, and says how many of its slots are free.
    fn validate_slab(&self, record: &Record, node: &Node, slab: SlabRef) -> Result<u32, Inconsistency> {
        let (name, shape) = (record.setup.name, &record.shape);
        let bits = (0..shape.words()).map(|word| slab.word(word).count_ones()).sum();
        if slab.free() != bits || bits > shape.objects {
            return Err(Inconsistency::FreeCount(name, slab.free(), bits));
        }
        if slab.bin() != bin_of(shape, slab) {
            return Err(Inconsistency::WrongBin(name, slab.bin(), bin_of(shape, slab)));
        }
        if !node.is_linked(slab) || slab.cache() != record.setup.id {
            return Err(Inconsistency::Links(name));
        }
        self.validate_frames(record, slab)?;
        Ok(bits)
    }

    fn validate_frames(&self, record: &Record, slab: SlabRef) -> Result<(), Inconsistency> {
        let start = slab.start().addr().get();
        for frame in 0..record.shape.order.frames() {
            let address = start + (frame * FRAME_BYTES) as usize;
            if self.memory.private(address, PageType::SLAB) != Some(slab.to_private()) {
                return Err(Inconsistency::Descriptor(record.setup.name, self.memory.pfn(address)));
            }
        }
        Ok(())
    }

    /// Checks the full magazines of a depot: takes each out, looks at it without the lock, and puts all back.
    fn validate_depot(&self, record: &Record, node: usize, depot: &SharedDepot) -> Result<(), Inconsistency> {
        let full = |work: &mut dyn FnMut(&mut Stack)| {
            work(&mut depot.lock(self.machine().irq_off()).full);
        };
        let (mut seen, mut result, mut count) = (Stack::default(), Ok(()), 0);
        full(&mut |full| count = full.count);
        for _ in 0..count {
            let mut next = None;
            full(&mut |full| next = full.pop());
            let Some(magazine) = next else { break };
            result = self.validate_magazine(record, &magazine);
            result = result.and_then(|()| self.validate_node_of(record, &magazine, node));
            seen.push(magazine);
            if result.is_err() {
                break;
            }
        }
        while let Some(magazine) = seen.pop() {
            let mut back = Some(magazine);
            full(&mut |full| back.take().into_iter().for_each(|magazine| full.push(magazine)));
        }
        result
    }

    /// Checks this CPU's magazines: takes them out, looks at them, and puts them back.
    fn validate_line(&self, record: &'static Record, pinned: Pinned<'_>) -> Result<(), Inconsistency> {
        let Some(line) = self.line(record, self.cpu(pinned)) else { return Ok(()) };
        let mut held = {
            let _guard = self.machine().irq_off();
            if line.has_magazines() && !record.keepers.contains(self.cpu(pinned)) {
                return Err(Inconsistency::Unlisted(record.setup.name, self.cpu(pinned)));
            }
            if line.gate.is_busy() { Stack::default() } else { line.take_all() }
        };
        let (mut seen, mut result) = (Stack::default(), Ok(()));
        for magazine in held.drain() {
            result = result.and_then(|()| self.validate_magazine(record, &magazine));
            seen.push(magazine);
        }
        held.append(seen);
        let is_back = {
            let _guard = self.machine().irq_off();
            let is_alone = !line.gate.is_busy();
            if is_alone && held.count > 0 {
                // A handler that drained the line meanwhile has found nothing, and taken the CPU off the list.
                record.keepers.join(self.cpu(pinned));
                line.put_back(core::mem::take(&mut held));
            }
            is_alone
        };
        if !is_back {
            self.deposit(record, pinned, held);
        }
        result
    }

    fn validate_magazine(&self, record: &Record, magazine: &Magazine) -> Result<(), Inconsistency> {
        let (name, count) = (record.setup.name, magazine.count());
        if count > magazine.room() || magazine.room() > record.shape.most_rounds {
            return Err(Inconsistency::Overfull(name, count));
        }
        for at in 0..count {
            let object = magazine.round(at);
            let is_out = self.find(record, object).is_ok_and(|(slab, index)| !slab.is_free(index));
            let is_twice = (0..at).any(|other| magazine.round(other) == object);
            if !is_out || is_twice {
                return Err(Inconsistency::Magazine(name, object.addr().get()));
            }
        }
        Ok(())
    }

    /// Checks that all objects of a magazine in the depot of `node` are of slabs of this node.
    fn validate_node_of(
        &self,
        record: &Record,
        magazine: &Magazine,
        node: usize,
    ) -> Result<(), Inconsistency> {
        let is_other =
            |object: &Round| !self.find(record, *object).is_ok_and(|(slab, _)| slab.node() == node);
        match (0..magazine.count()).map(|at| magazine.round(at)).find(is_other) {
            Some(object) => Err(Inconsistency::OtherNode(record.setup.name, node, object.addr().get())),
            None => Ok(()),
        }
    }
}
