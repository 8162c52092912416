//! Limits on an owner's part of the things that all owners share (I11): large pages, and time.
//!
//! **Large pages.** A hold is charged, when it begins, for each large page that it splits: of 2 MiB and of 1 GiB, at
//! each of its two ends, so four at most; a pin for each larger page that it reaches into. It makes no difference
//! whether the page was split already. So an owner's sum is a matter of its own holds alone: no other owner's act
//! changes it, and owners that take turns in splitting a page pay for it each. A hold that splits none, because it is
//! made of whole pages of the largest size, is charged as if it split one: it has a record, and its removal and its
//! return cost flushes. So the limit bounds an owner's records, too, whatever the largest page is.
//!
//! **Time.** A change costs steps: one for its round of flushes, one for each large page that it splits, one for each
//! [`ENTRIES_OF_A_STEP`] entries that it writes; its restore, which cannot be refused, is paid for beforehand. An owner
//! with a [`Rate`] runs into debt, and where the debt is more than its burst, its next change is refused until the rest
//! is paid by time passing. So all flushes and all splits on an owner's account, over any stretch of time, are at most
//! its burst, one change, and the steps that its rate pays for in that time. Each merge reverses a split that was paid
//! for. A change that is refused pays for the entries that were looked at until then: an owner that fails again and
//! again is not served free of charge.
//!
//! Source of the second: the generic cell rate algorithm (ITU-T I.371), which needs one number for each owner.

/// How often an owner may change the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// The nanoseconds that pay for one step; 0 is no limit.
    pub step_ns: u32,
    /// Steps that an owner may be in debt and still change the map.
    pub burst: u32,
}

impl Rate {
    /// Returns how long an owner must wait whose debt is paid at `paid_until_ns`.
    pub(crate) const fn wait_ns(self, paid_until_ns: u64, now_ns: u64) -> u64 {
        let allowed = self.step_ns as u64 * self.burst as u64;
        paid_until_ns.saturating_sub(now_ns.saturating_add(allowed))
    }

    /// Returns when the debt is paid, with `steps` more.
    pub(crate) fn charged(self, paid_until_ns: u64, now_ns: u64, steps: u64) -> u64 {
        paid_until_ns.max(now_ns).saturating_add(u64::from(self.step_ns).saturating_mul(steps))
    }
}

/// The most that an owner may have, and how often it may change the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Large pages that its holds break, each counted for each of the holds; one for a hold that breaks none.
    pub breaks: u64,
    /// How often; `None` for the kernel's own parts.
    pub rate: Option<Rate>,
}

impl Limits {
    /// No limit.
    pub const NONE: Self = Self { breaks: u64::MAX, rate: None };

    /// Returns a limit on large pages alone.
    pub const fn of_breaks(breaks: u64) -> Self {
        Self { breaks, rate: None }
    }
}

/// Entries that cost as much as one flush.
pub const ENTRIES_OF_A_STEP: u64 = 512;

/// Returns the cost of a change that splits `splits` pages and writes `entries`, its restore included.
pub(crate) const fn steps_of(splits: u64, entries: u64) -> u64 {
    2 * (1 + splits + entries / ENTRIES_OF_A_STEP)
}
