//! Limits: how many pages the areas of an owner may have together.
//!
//! Only the pages of owners that have a limit are counted, so that all others share no line. An area remembers whether
//! it was counted; a limit that comes later counts the areas that come after it.

use rhumb_frames::Owner;
use rhumb_sync::atomic::{AtomicU64, Relaxed};

use super::error::AreaError;

/// Owners that can have a limit: those with numbers below this.
pub(super) const OWNERS: usize = 256;

/// No limit.
pub(super) const UNLIMITED: u64 = u64::MAX;

/// The account of one owner.
#[derive(Debug)]
pub(super) struct Account {
    most: AtomicU64,
    used: AtomicU64,
}

impl Account {
    pub(super) fn new() -> Self {
        Self { most: AtomicU64::new(UNLIMITED), used: AtomicU64::new(0) }
    }
}

/// The accounts of all owners.
pub(super) struct Accounts(pub(super) &'static [Account]);

impl Accounts {
    /// Sets how many pages the owner may have; [`UNLIMITED`] ends the limit.
    pub(super) fn set(&self, owner: Owner, most: u64) -> Result<(), AreaError> {
        let account = self.0.get(usize::from(owner.0)).ok_or(AreaError::NoLimitFor(owner))?;
        account.most.store(most, Relaxed);
        Ok(())
    }

    /// Returns how many pages of the owner count, and how many it may have; `None` where it has no limit.
    pub(super) fn get(&self, owner: Owner) -> Option<(u64, u64)> {
        let account = self.0.get(usize::from(owner.0))?;
        let most = account.most.load(Relaxed);
        (most != UNLIMITED).then(|| (account.used.load(Relaxed), most))
    }

    /// Returns how many pages of the owner count, also where it has no limit any more.
    pub(super) fn used(&self, owner: Owner) -> u64 {
        self.0.get(usize::from(owner.0)).map_or(0, |account| account.used.load(Relaxed))
    }

    /// Counts `pages` more where the owner has a limit, and tells whether it has.
    #[inline]
    pub(super) fn charge(&self, owner: Owner, pages: u64) -> Result<bool, AreaError> {
        let Some(account) = self.0.get(usize::from(owner.0)) else { return Ok(false) };
        let most = account.most.load(Relaxed);
        if most == UNLIMITED {
            return Ok(false);
        }
        let more = |used: u64| used.checked_add(pages).filter(|&sum| sum <= most);
        match account.used.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Ok(true),
            Err(used) => Err(AreaError::OverLimit(owner, used.saturating_add(pages), most)),
        }
    }

    /// Counts `pages` fewer.
    pub(super) fn uncharge(&self, owner: Owner, pages: u64) {
        if let Some(account) = self.0.get(usize::from(owner.0)) {
            account.used.fetch_sub(pages, Relaxed);
        }
    }
}
