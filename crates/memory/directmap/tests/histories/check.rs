//! The checks after each turn.

use rhumb_machine::Block;
use rhumb_machine::PageSize;
use rhumb_pagetable::Leaves;

use crate::model::Known;
use crate::play::Play;
use crate::world::{Kind, NAMES, World, virt};

impl Play<'_, '_> {
    /// Demands that the map is what the model says, by the largest pages; that the journal says the same; and that no
    /// report has come.
    pub(crate) fn check(&self) -> Result<(), String> {
        let World { map, mmu, ram, .. } = &self.world;
        map.validate().map_err(|wrong| format!("{wrong:?}"))?;
        if let Some(report) = mmu.take_reports().first() {
            return Err(report.to_string());
        }
        let absent = self
            .model
            .holds
            .iter()
            .filter(|known| known.state.entry(ram.start().addr(), PageSize::Size4K).bits() == 0);
        let mut shown: u64 = absent.map(|known| known.frames.frames()).sum();
        let end = World::range(*ram).end();
        for leaf in Leaves::all(map.memory(), mmu.root()).filter(|leaf| leaf.virt < end) {
            let block = Block::around(leaf.phys.pfn(), leaf.size);
            shown += leaf.size.frames();
            let state = self.model.state(block.start());
            if leaf.virt != virt(block.start()) || leaf.entry != state.entry(leaf.phys, leaf.size) {
                return Err(format!("{block} is {:?} in place of {state}", leaf.entry));
            }
            if let Some(known) = self.model.holds.iter().find(|known| known.breaks(block)) {
                return Err(format!("{block} is one page over an end of {known:?}"));
            }
            if self.world.kind == Kind::Large
                && let Some(size) = PageSize::from_level(leaf.size.level() + 1)
            {
                let larger = Block::around(block.start(), size);
                if !self.model.holds.iter().any(|known| known.breaks(larger)) {
                    return Err(format!("{block} could be {larger}"));
                }
            }
        }
        if shown != ram.frames() {
            return Err(format!("{shown} frames are shown or held, of {}", ram.frames()));
        }
        self.check_journal()
    }

    fn check_journal(&self) -> Result<(), String> {
        let map = &self.world.map;
        let mut known: Vec<&Known> = self.model.holds.iter().collect();
        known.sort_by_key(|known| known.frames.start());
        let reports: Vec<_> = map.holds().collect();
        if reports.len() != known.len() {
            return Err(format!("{} holds in the journal, {} held", reports.len(), known.len()));
        }
        for (report, known) in reports.iter().zip(known) {
            let is_same =
                (report.frames, report.state, report.pinned) == (known.frames, known.state, known.pinned);
            if !is_same || !report.is_of(self.world.owners[known.owner]) {
                return Err(format!("the journal has {report}, held is {known:?} of {}", NAMES[known.owner]));
            }
        }
        let mut in_use = 0;
        for split in map.splits() {
            in_use += 1;
            let holder = self.model.holds.iter().find(|known| known.frames == split.hold.frames);
            if !holder.is_some_and(|known| known.breaks(split.block)) {
                return Err(format!("{split}, which does not break it"));
            }
        }
        let waiting: u64 = self.pending.iter().map(|(_, batch)| batch.tables()).sum();
        let counters = map.counters();
        let cut = counters.level2_splits + counters.level3_splits;
        let merged = counters.level2_collapses + counters.level3_collapses;
        let tables = map.reserve().tables + waiting + map.kept_tables() + in_use;
        // A collapse merges tables of boot, too.
        if self.world.kind == Kind::Large && (cut - merged != in_use || tables != self.world.given) {
            return Err(format!(
                "{in_use} splits, {cut} cut, {merged} merged; {tables} tables of {}",
                self.world.given
            ));
        }
        Ok(())
    }
}
