//! Where an allocation or a free goes when the CPU's magazine cannot serve it.
//!
//! An allocation tries, in this order, and stops at the first success:
//! 1. the pools of its zonelist, leaving the low watermark in each;
//! 2. the same, down to what its class may take;
//! 3. the same, after this CPU has given back its own caches (an order-9 block may come together, and frames kept for
//!    another kind become anybody's) and the other CPUs have been asked to;
//! 4. the same, after each reclaimer in turn has freed something;
//! 5. the same, after the other CPUs have been made to give back their caches ([`crate::Recall`]).
//!
//! The last two are for classes that may wait. A failure leaves all counters as they were: nothing is taken before it
//! is certain.

use rhumb_machine::{Machine, Pinned};

use crate::depot::Effort;
use crate::error::AllocError;
use crate::frames::Frames;
use crate::raw::Raw;
use crate::raw::Reach;
use crate::request::{AllocClass, Contents, Owner, Preference, Request, Zone};

impl<M: Machine> Frames<M> {
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slow(
        &self,
        pinned: Pinned<'_>,
        request: Request,
        reach: Reach,
    ) -> Result<Raw, AllocError> {
        let zeroed = request.contents == Contents::Zeroed;
        let mapped = reach == Reach::Mapped || zeroed;
        let (reach, ceiling) = if mapped {
            (Reach::Mapped, request.ceiling.min(Zone::Direct))
        } else {
            (reach, request.ceiling)
        };
        let request = request.ceiling(ceiling);
        self.inject_failure(&request)?;
        self.tick(pinned);
        let easy = self.attempt(&request, reach, Effort::Easy);
        let raw = match easy.or_else(|| self.attempt(&request, reach, Effort::Hard)) {
            Some(raw) => raw,
            None => self.alloc_hard(pinned, &request, reach)?,
        };
        self.note_alloc(pinned, raw);
        self.allow(raw);
        if zeroed {
            crate::zero::zero(&self.machine, raw);
        }
        if request.owner != Owner::NONE
            && let Some(descriptor) = self.described(raw.pfn())
        {
            descriptor.stamp(request.owner, request.order);
            return Ok(Raw(raw.0 | Raw::OWNED));
        }
        Ok(raw)
    }

    fn attempt(&self, request: &Request, reach: Reach, effort: Effort) -> Option<Raw> {
        let guard = self.machine.irq_off();
        self.depot.attempt(guard.irq_off(), request, reach, effort)
    }

    #[cold]
    fn alloc_hard(&self, pinned: Pinned<'_>, request: &Request, reach: Reach) -> Result<Raw, AllocError> {
        self.check(pinned, request)?;
        self.drain(pinned);
        if let Some(raw) = self.attempt(request, reach, Effort::Hard) {
            return Ok(raw);
        }
        self.request_drain(pinned);
        if matches!(request.class, AllocClass::Normal | AllocClass::PageTables) {
            let served = self.reclaim(pinned, request, || {
                self.drain(pinned);
                self.attempt(request, reach, Effort::Hard)
            });
            let served =
                served.or_else(|| self.recall(pinned, || self.attempt(request, reach, Effort::Hard)));
            if let Some(raw) = served {
                return Ok(raw);
            }
        }
        Err(AllocError::Exhausted(request.order))
    }

    /// Whether the request could be served by an empty machine.
    fn check(&self, pinned: Pinned<'_>, request: &Request) -> Result<(), AllocError> {
        if pinned.cpu().index() >= self.depot.cpus {
            return Err(AllocError::NoSuchCpu);
        }
        let has = |zone| self.depot.pools.iter().any(|pool| pool.zone <= zone);
        if !has(request.ceiling) {
            return Err(AllocError::NothingBelow(request.ceiling));
        }
        match request.node() {
            Preference::Bind(node) if !self.depot.pools.iter().any(|pool| pool.node == node) => {
                Err(AllocError::NoSuchNode(node))
            }
            Preference::Prefer(node) if node.index() >= self.depot.nodes() => {
                Err(AllocError::NoSuchNode(node))
            }
            _ => Ok(()),
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn free_slow(&self, pinned: Pinned<'_>, raw: Raw, reach: Reach) {
        let raw = if raw.0 & Raw::OWNED != 0 {
            if let Some(descriptor) = self.filled_descriptor(raw.pfn()) {
                descriptor.note_free(pinned.cpu());
            }
            Raw(raw.0 & !Raw::OWNED)
        } else {
            raw
        };
        self.tick(pinned);
        let guard = self.machine.irq_off();
        self.depot.free(guard.irq_off(), raw, reach);
    }
}
