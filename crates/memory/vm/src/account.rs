//! The pages and tables of a map, and the most that it may have.
//!
//! Resident pages are charged by faults, which several CPUs resolve at once. So they are taken from the account in
//! batches, which the map's stripes keep for the next faults ([`Credit`]); a fault that finds the account used up takes
//! back what the other stripes keep, so that the limit is exact. Near the limit a fault takes one page alone: a stripe that
//! took the last ones for later would have other CPUs look for them again and again, and miss them in between.

use rhumb_sync::atomic::{AtomicU64, Relaxed};

use crate::error::Resource;

/// Pages that a stripe takes from the account at once.
pub(crate) const BATCH: u64 = 16;

/// As many pages as all stripes of a map may keep. Where the limit leaves no more than these, stripes keep none.
pub(crate) const NEAR: u64 = BATCH * 32;

/// Pages that were charged and are not resident yet.
#[derive(Debug, Default)]
pub(crate) struct Credit(pub(crate) u64);

/// The most that a map may have. `None` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Pages of addresses.
    pub address_pages: Option<u64>,
    /// Pages that have a frame.
    pub resident_pages: Option<u64>,
    /// Pages that are wired.
    pub wired_pages: Option<u64>,
    /// Page tables.
    pub tables: Option<u64>,
}

/// The pages and tables that a map has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Pages of addresses.
    pub address_pages: u64,
    /// Pages that have a frame.
    pub resident_pages: u64,
    /// Pages that are wired.
    pub wired_pages: u64,
    /// Page tables.
    pub tables: u64,
}

/// A counter with a limit.
#[derive(Debug)]
struct Meter {
    used: AtomicU64,
    most: AtomicU64,
}

impl Meter {
    fn new(most: Option<u64>) -> Self {
        Self { used: AtomicU64::new(0), most: AtomicU64::new(most.unwrap_or(u64::MAX)) }
    }

    /// Takes as many as `choose` says of those that the limit leaves. `None` where that is none.
    fn take(&self, choose: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut used = self.used.load(Relaxed);
        loop {
            let given = choose(self.most.load(Relaxed).saturating_sub(used))?;
            match self.used.compare_exchange(used, used + given, Relaxed, Relaxed) {
                Ok(_) => return Some(given),
                Err(now) => used = now,
            }
        }
    }

    fn give(&self, count: u64) {
        self.used.fetch_sub(count, Relaxed);
    }
}

/// The meters of a map.
#[derive(Debug)]
pub(crate) struct Account {
    addresses: Meter,
    resident: Meter,
    wired: Meter,
    tables: Meter,
}

impl Account {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            addresses: Meter::new(limits.address_pages),
            resident: Meter::new(limits.resident_pages),
            wired: Meter::new(limits.wired_pages),
            tables: Meter::new(limits.tables),
        }
    }

    const fn meter(&self, resource: Resource) -> &Meter {
        match resource {
            Resource::Addresses => &self.addresses,
            Resource::Resident => &self.resident,
            Resource::Wired => &self.wired,
            Resource::Tables => &self.tables,
        }
    }

    pub(crate) fn take(&self, resource: Resource, count: u64) -> Result<(), Resource> {
        self.meter(resource).take(|left| (count <= left).then_some(count)).map(drop).ok_or(resource)
    }

    /// Takes so many, also past the limit.
    ///
    /// # Errors
    /// The limit is passed. They are taken all the same.
    pub(crate) fn take_anyway(&self, resource: Resource, count: u64) -> Result<(), Resource> {
        let meter = self.meter(resource);
        let used = meter.used.fetch_add(count, Relaxed) + count;
        if used > meter.most.load(Relaxed) { Err(resource) } else { Ok(()) }
    }

    /// Takes [`BATCH`] resident pages, or one near the limit.
    pub(crate) fn take_batch(&self) -> Option<u64> {
        self.resident.take(|left| match left {
            0 => None,
            1..=NEAR => Some(1),
            _ => Some(BATCH),
        })
    }

    pub(crate) fn give(&self, resource: Resource, count: u64) {
        if count > 0 {
            self.meter(resource).give(count);
        }
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        for (meter, most) in [
            (&self.addresses, limits.address_pages),
            (&self.resident, limits.resident_pages),
            (&self.wired, limits.wired_pages),
            (&self.tables, limits.tables),
        ] {
            meter.most.store(most.unwrap_or(u64::MAX), Relaxed);
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        let most = |meter: &Meter| Some(meter.most.load(Relaxed)).filter(|&most| most != u64::MAX);
        Limits {
            address_pages: most(&self.addresses),
            resident_pages: most(&self.resident),
            wired_pages: most(&self.wired),
            tables: most(&self.tables),
        }
    }

    /// Returns what the map has, with the credit of its stripes counted as resident.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            address_pages: self.addresses.used.load(Relaxed),
            resident_pages: self.resident.used.load(Relaxed),
            wired_pages: self.wired.used.load(Relaxed),
            tables: self.tables.used.load(Relaxed),
        }
    }
}
