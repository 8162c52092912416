//! The exact check of every structure: what tests and the monitor call. Slow, and for a quiet machine.

use core::fmt;

use rhumb_machine::{Machine, Pfn};

use crate::magazine::{Magazine, Round};
use crate::memory::{FRAME_BYTES, PageType};
use crate::node::{EMPTY, Node, bin_of};
use crate::record::{Name, Record};
use crate::slab::Slab;
use crate::slabs::Slabs;

/// What does not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inconsistency {
    /// A slab's count of free slots (the second) is not that of its bits (the third).
    FreeCount(Name, u32, u32),
    /// A slab stands in the first bin and belongs in the second.
    WrongBin(Name, usize, usize),
    /// A slab's neighbours in its bin do not agree with it.
    Links(Name),
    /// The node counts the first number of slabs or free slots, and has the second.
    NodeCount(Name, u64, u64),
    /// The frame's descriptor does not lead to the slab that has it.
    Descriptor(Name, Pfn),
    /// An object in a magazine is free in its slab, in no slab of this cache, or in two magazines.
    Magazine(Name, usize),
    /// A magazine holds more rounds than it may.
    Overfull(Name, u32),
    /// The depot of the node has an object of another node.
    OtherNode(Name, usize, usize),
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FreeCount(name, count, bits) => {
                write!(f, "{name}: a slab counts {count} free slots and has {bits}")
            }
            Self::WrongBin(name, is, should) => {
                write!(f, "{name}: a slab of bin {should} stands in bin {is}")
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
        }
    }
}

impl core::error::Error for Inconsistency {}

impl<M: Machine> Slabs<M> {
    /// Checks every cache. For a machine whose other CPUs are quiet. Cost: reads every header and magazine.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn validate(&self) -> Result<(), Inconsistency> {
        self.caches(|record| self.validate_cache(record)).collect()
    }

    fn validate_cache(&self, record: &Record) -> Result<(), Inconsistency> {
        for index in 0..record.node_count() {
            let guard = self.machine().irq_off();
            let node = record.node(guard.irq_off(), index);
            self.validate_node(record, &node)?;
            for magazine in node.full.iter() {
                self.validate_magazine(record, magazine, magazine.count())?;
                self.validate_node_of(record, magazine, index)?;
            }
        }
        for line in record.lines() {
            for (magazine, count) in line.magazines() {
                self.validate_magazine(record, magazine, count)?;
            }
        }
        Ok(())
    }

    fn validate_node(&self, record: &Record, node: &Node) -> Result<(), Inconsistency> {
        let (name, shape) = (record.setup.name, &record.shape);
        let (mut slabs, mut empty, mut free) = (0, 0, 0);
        for bin in 0..=EMPTY {
            let mut previous = None;
            for slab in node.bin(bin) {
                let bits = (0..shape.words()).map(|word| slab.word(word).count_ones()).sum();
                if slab.free() != bits || bits > shape.objects {
                    return Err(Inconsistency::FreeCount(name, slab.free(), bits));
                }
                if bin_of(shape, slab) != bin || slab.bin() != bin {
                    return Err(Inconsistency::WrongBin(name, bin, bin_of(shape, slab)));
                }
                if slab.previous() != previous || slab.cache() != record.setup.id {
                    return Err(Inconsistency::Links(name));
                }
                self.validate_frames(record, slab)?;
                previous = Some(slab);
                slabs += 1;
                empty += u64::from(bin == EMPTY);
                free += u64::from(bits);
            }
        }
        let counts =
            [(u64::from(node.slabs), slabs), (u64::from(node.empty_slabs), empty), (node.free, free)];
        match counts.into_iter().find(|(count, is)| count != is) {
            Some((count, is)) => Err(Inconsistency::NodeCount(name, count, is)),
            None => Ok(()),
        }
    }

    fn validate_frames(&self, record: &Record, slab: Slab) -> Result<(), Inconsistency> {
        let start = slab.start().map_or(0, |start| start.addr().get());
        for frame in 0..record.shape.order.frames() {
            let address = start + (frame * FRAME_BYTES) as usize;
            if self.memory.private(address, PageType::Slab) != Some(slab.to_private()) {
                return Err(Inconsistency::Descriptor(record.setup.name, self.memory.pfn(address)));
            }
        }
        Ok(())
    }

    fn validate_magazine(
        &self,
        record: &Record,
        magazine: Magazine,
        count: u32,
    ) -> Result<(), Inconsistency> {
        let name = record.setup.name;
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

    /// All objects of a magazine in the depot of `node` are of slabs of this node.
    fn validate_node_of(
        &self,
        record: &Record,
        magazine: Magazine,
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
