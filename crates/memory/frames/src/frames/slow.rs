//! Where an allocation or a free goes when the CPU's magazine cannot serve it.
//!
//! An allocation tries, in this order, and stops at the first success:
//! 1. the pools of its zonelist, leaving the low watermark in each;
//! 2. the same, down to what its class may take;
//! 3. the same, after this CPU has drained its own caches (an order-9 block may become whole, and frames kept for
//!    another kind become free for all); a class that may not wait drains only a part of them. Where this fails, the
//!    other CPUs are asked to drain theirs at their next slow path;
//! 4. the same, after each reclaimer in turn has freed something;
//! 5. the same, after the other CPUs have been made to drain their caches ([`crate::Recall`]).
//!
//! The last two are for classes that may wait. A failed request has taken no frame.

use rhumb_machine::{Machine, NodeId, Order, Pinned};

use crate::cache::CpuCache;
use crate::error::AllocError;
use crate::frames::Frames;
use crate::frames::zero::zero;
use crate::handle::raw::Raw;
use crate::pool::Pool;
use crate::request::{AllocClass, Contents, Owner, Preference, Request, Zone};
use crate::zones::Effort;
use rhumb_sync::atomic::Relaxed;

impl<M: Machine> Frames<M> {
    /// Serves a request that is not one of the most common, or whose magazine is empty. A call of its own, so that the
    /// common path saves no registers.
    #[inline(never)]
    pub(crate) fn alloc_uncommon(&self, pinned: Pinned<'_>, request: Request) -> Result<Raw, AllocError> {
        if self.zones.caches.is_traced() {
            return self.alloc_traced(pinned, request);
        }
        self.alloc_untraced(pinned, request)
    }

    #[inline(always)]
    pub(crate) fn alloc_untraced(&self, pinned: Pinned<'_>, request: Request) -> Result<Raw, AllocError> {
        match self.pop_uncommon(pinned, request) {
            Some(raw) => Ok(self.prepare(pinned, raw, request)),
            None => self.alloc_slow(pinned, request),
        }
    }

    /// Takes a block from this CPU's magazines: for a run, and for a request that is common but for its owner or its
    /// contents.
    #[inline(always)]
    fn pop_uncommon(&self, pinned: Pinned<'_>, request: Request) -> Option<Raw> {
        let (order, kind) = (request.order, request.kind);
        if !request.bare().is_plain() || !request.is_plain() && self.is_failure_due() {
            return None;
        }
        let cache = self.zones.cache(self.machine.cpu_of(pinned))?;
        if order == Order::BASE {
            return cache.pop(order, kind);
        }
        cache.gate.alone(|| cache.pop_run(order, kind as usize, |raw| self.zones.free_around(raw))).flatten()
    }

    /// Makes a block that was taken what the request asks for, and returns its handle.
    #[inline(always)]
    fn prepare(&self, pinned: Pinned<'_>, raw: Raw, request: Request) -> Raw {
        self.note_alloc(pinned, raw);
        self.allow(raw);
        if request.contents == Contents::Zeroed {
            zero(&self.machine, raw);
        }
        if request.owner != Owner::NONE
            && let Some(descriptor) = self.described(raw.pfn())
        {
            descriptor.stamp(request.owner, request.order);
            return Raw(raw.0 | Raw::OWNED);
        }
        raw
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slow(&self, pinned: Pinned<'_>, request: Request) -> Result<Raw, AllocError> {
        let zeroed = request.contents == Contents::Zeroed;
        // Memory past the direct map cannot be zeroed here.
        let request = if zeroed { request.in_direct_map() } else { request };
        self.inject_failure(&request)?;
        let here = self.go_home(pinned);
        let easy = self.attempt(here, &request, Effort::Easy);
        let raw = match easy.or_else(|| self.attempt(here, &request, Effort::Hard)) {
            Some(raw) => raw,
            None => self.alloc_hard(pinned, here, &request)?,
        };
        Ok(self.prepare(pinned, raw, request))
    }

    /// Begins a slow path: takes note of this CPU's node, which it may have learnt since it was here last, gives back
    /// the frames that other CPUs asked for, and returns the node.
    #[inline(always)]
    fn go_home(&self, pinned: Pinned<'_>) -> NodeId {
        let here = self.node_of(pinned);
        if let Some(cache) = self.zones.cache(self.machine.cpu_of(pinned)) {
            let home = Raw::pool_tag(self.zones.brand, here, 0).0;
            if cache.home.load(Relaxed) != home {
                self.move_home(pinned, cache, home);
            }
            if cache.gate.is_wanted() {
                self.tick(pinned);
            }
        }
        here
    }

    /// Takes note of this CPU's node; the frames of another node that it kept go back.
    #[cold]
    fn move_home(&self, pinned: Pinned<'_>, cache: &CpuCache, home: u64) {
        if !cache.gate.is_busy() {
            cache.home.store(home, Relaxed);
            self.drain(pinned);
        }
    }

    /// Returns this CPU's node; the first where the layout has no such node.
    fn node_of(&self, pinned: Pinned<'_>) -> NodeId {
        let node = self.machine.node_of(self.machine.cpu_of(pinned));
        if node.index() < self.zones.nodes() { node } else { NodeId::FIRST }
    }

    fn attempt(&self, here: NodeId, request: &Request, effort: Effort) -> Option<Raw> {
        let guard = self.machine.irq_off();
        self.zones.attempt(guard.irq_off(), here, request, effort)
    }

    #[cold]
    fn alloc_hard(&self, pinned: Pinned<'_>, here: NodeId, request: &Request) -> Result<Raw, AllocError> {
        self.check(pinned, request)?;
        let may_wait = matches!(request.class, AllocClass::Ordinary | AllocClass::PageTables);
        if may_wait {
            self.drain(pinned);
        } else {
            self.drain_some(pinned);
        }
        if let Some(raw) = self.attempt(here, request, Effort::Hard) {
            return Ok(raw);
        }
        self.request_drain(pinned);
        if may_wait {
            let served = self.reclaim(pinned, request, || {
                self.drain(pinned);
                self.attempt(here, request, Effort::Hard)
            });
            let served = served.or_else(|| self.recall(pinned, || self.attempt(here, request, Effort::Hard)));
            if let Some(raw) = served {
                return Ok(raw);
            }
        }
        Err(self.exhausted(request))
    }

    /// Returns the error of a request that no pool serves, and counts it where memory past the direct map is free: that
    /// memory would have to be in the map.
    fn exhausted(&self, request: &Request) -> AllocError {
        let is_free = |pool: &Pool| pool.zone == Zone::High && pool.may_have(request.order, 0);
        if request.ceiling != Zone::Normal || !self.zones.pools.iter().any(is_free) {
            return AllocError::Exhausted(request.order);
        }
        self.zones.refused_low.fetch_add(1, Relaxed);
        AllocError::LowExhausted(request.order)
    }

    /// Checks that the request could be served by a machine whose memory is all free.
    fn check(&self, pinned: Pinned<'_>, request: &Request) -> Result<(), AllocError> {
        if self.machine.cpu_of(pinned).index() >= self.zones.caches.all().len() {
            return Err(AllocError::NoSuchCpu);
        }
        let has = |zone| self.zones.pools.iter().any(|pool| pool.zone <= zone);
        if !has(request.ceiling) {
            return Err(AllocError::NothingBelow(request.ceiling));
        }
        match request.node() {
            Preference::Bind(node) if !self.zones.pools.iter().any(|pool| pool.node == node) => {
                Err(AllocError::NoSuchNode(node))
            }
            Preference::Prefer(node) if node.index() >= self.zones.nodes() => {
                Err(AllocError::NoSuchNode(node))
            }
            _ => Ok(()),
        }
    }

    /// Frees a block that is not one of the most common, or whose magazine is full. A call of its own, and the last
    /// thing that its caller does, so that the common path saves no registers.
    #[inline(never)]
    pub(crate) fn free_uncommon(&self, pinned: Pinned<'_>, raw: Raw) {
        if self.zones.caches.is_traced() && self.free_traced(pinned, raw) {
            return;
        }
        let raw = self.without_owner(pinned, raw);
        if let Some(cache) = self.zones.cache(self.machine.cpu_of(pinned))
            && cache.push_any(raw)
        {
            return;
        }
        self.free_slow(pinned, raw);
    }

    /// Has the descriptor forget the owner of a block, and returns the block's handle as if it never had one. A block of
    /// another allocator stays as it is.
    #[inline(always)]
    fn without_owner(&self, pinned: Pinned<'_>, raw: Raw) -> Raw {
        if raw.0 & Raw::OWNED == 0 || raw.brand() != self.zones.brand {
            return raw;
        }
        if let Some(descriptor) = self.filled_descriptor(raw.pfn()) {
            descriptor.note_free(self.machine.cpu_of(pinned));
        }
        Raw(raw.0 & !Raw::OWNED)
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, pinned: Pinned<'_>, raw: Raw) {
        if raw.brand() != self.zones.brand {
            return self.faults.refuse(raw.pfn());
        }
        self.go_home(pinned);
        let guard = self.machine.irq_off();
        self.zones.free(guard.irq_off(), raw);
    }
}
