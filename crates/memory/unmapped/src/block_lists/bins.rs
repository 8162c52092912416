//! The bins of the lists: a block is in the one that its fullness and its largest free run say.
//!
//! A bin is a list through the records of its blocks, so that a block leaves it in a few writes. A word for each account
//! says which of its bins have any block.

use rhumb_machine::{Machine, Order};

use crate::account::Account;
use crate::block_lists::BlockLists;
use crate::record::{
    BlockId, Chain, FREE_MEMBERS_BIN, Link, Links, MEMBERS, NO_BIN, OWN_BINS, Record, Records, SPARE_BIN,
};

/// Which bins have a free run of an order or more.
const SERVING: [u64; 9] = {
    let mut masks = [0; 9];
    let mut order = 0;
    while order < 9 {
        let mut bin = 0;
        while bin < 63 {
            if bin % 9 >= order {
                masks[order] |= 1 << bin;
            }
            bin += 1;
        }
        order += 1;
    }
    masks
};

const _: () = assert!(OWN_BINS == 64 && FREE_MEMBERS_BIN == 63);

/// The outcome for a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turned {
    Whole,
    Partial,
}

impl BlockLists {
    /// Writes a block's state, and moves it to the bin that it belongs in.
    pub(super) fn place<M: Machine>(&mut self, records: &Records<'_, M>, id: BlockId, record: &mut Record) {
        let old = *record;
        record.bin = record.wanted_bin();
        records.store(id, record);
        if old.bin != record.bin {
            self.unlink_from_bin(records, id, &old);
            self.link_to_bin(records, id, record);
        }
    }

    fn link_to_bin<M: Machine>(&mut self, records: &Records<'_, M>, id: BlockId, record: &Record) {
        let Record { bin, owner, .. } = *record;
        if bin == SPARE_BIN {
            link(records, &mut self.spares, id, Chain::Bin);
            self.spare_blocks += 1;
        } else if let Some(account) = self.accounts.get_mut(usize::from(owner.0))
            && let Some(head) = account.bins.get_mut(usize::from(bin))
        {
            link(records, head, id, Chain::Bin);
            account.occupied |= 1 << bin;
        }
    }

    pub(super) fn unlink_from_bin<M: Machine>(
        &mut self,
        records: &Records<'_, M>,
        id: BlockId,
        record: &Record,
    ) {
        let Record { bin, owner, .. } = *record;
        debug_assert!(bin == NO_BIN || bin <= SPARE_BIN);
        if bin == SPARE_BIN {
            unlink(records, &mut self.spares, id, Chain::Bin);
            self.spare_blocks -= 1;
        } else if let Some(account) = self.accounts.get_mut(usize::from(owner.0))
            && let Some(head) = account.bins.get_mut(usize::from(bin))
        {
            unlink(records, head, id, Chain::Bin);
            if head.is_none() {
                account.occupied &= !(1 << bin);
            }
        }
    }

    /// Counts a member of `group` that became wholly free, or is so no longer.
    pub(super) fn count_free_member<M: Machine>(
        &mut self,
        records: &Records<'_, M>,
        group: BlockId,
        turned: Turned,
    ) {
        let members = records.free_members(group);
        match turned {
            Turned::Whole => {
                records.set_free_members(group, members + 1);
                if members + 1 == MEMBERS {
                    link(records, &mut self.free_groups, group, Chain::Groups);
                }
            }
            Turned::Partial => {
                records.set_free_members(group, members - 1);
                if members == MEMBERS {
                    unlink(records, &mut self.free_groups, group, Chain::Groups);
                }
            }
        }
    }
}

impl Account {
    /// Returns the block of its own that serves a request best.
    pub(super) fn find(&self, order: Order) -> Link {
        let serving = SERVING.get(usize::from(order.get())).copied().unwrap_or(0) | 1 << FREE_MEMBERS_BIN;
        let bins = self.occupied & serving;
        if bins == 0 { None } else { self.bins[bins.trailing_zeros() as usize] }
    }
}

/// Puts a block at the head of a list.
fn link<M: Machine>(records: &Records<'_, M>, head: &mut Link, id: BlockId, chain: Chain) {
    records.set_links(id, chain, Links { before: None, next: *head });
    if let Some(next) = *head {
        let links = records.links(next, chain);
        records.set_links(next, chain, Links { before: Some(id), ..links });
    }
    *head = Some(id);
}

/// Takes a block out of a list.
fn unlink<M: Machine>(records: &Records<'_, M>, head: &mut Link, id: BlockId, chain: Chain) {
    let Links { before, next } = records.links(id, chain);
    match before {
        Some(before) => {
            let links = records.links(before, chain);
            records.set_links(before, chain, Links { next, ..links });
        }
        None => *head = next,
    }
    if let Some(next) = next {
        let links = records.links(next, chain);
        records.set_links(next, chain, Links { before, ..links });
    }
}
