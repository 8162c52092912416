//! Tables on their way back, in steps.

use super::fixture::{Sim, record_page};
use super::*;

#[test]
fn i13_the_tables_of_a_batch_come_back_eight_at_a_time() {
    let mut sim = Sim::bare(Levels::Four, PageSize::Size1G, PageSize::Size1G);
    sim.refill(100).unwrap();
    (0..4).for_each(|_| sim.map.add_record_page(record_page()));
    let at = |block: u64| 4 * GIB + block * 2 * MIB;
    let held: Vec<Hold> = (0..61)
        .map(|block| sim.change(at(block), at(block) + 4 * KIB, Change::NotPresent).unwrap())
        .collect();
    held.into_iter().for_each(|held| sim.restore(held));
    let mut batch = Batch::new();
    assert_eq!(sim.map.empty_quarantine(&mut batch), 62);
    assert_eq!(batch.tables(), 62);
    // SAFETY: no CPU walks tables in a hash map.
    let mut work = Reclaiming::new(unsafe { batch.never_walked() });
    let (reserve, mut steps) = (sim.map.reserve(), 0);
    loop {
        let writes = sim.map.memory().writes;
        let step = work.step(&mut sim.map);
        steps += 1;
        assert!(sim.map.memory().writes - writes <= 16);
        sim.map.validate().unwrap();
        if step.is_ready() {
            break;
        }
        let back = Reserve { tables: reserve.tables + 8 * steps, records: reserve.records + 8 * steps };
        assert_eq!(sim.map.reserve(), back);
        // Other tables come and go in between.
        let page = GIB + steps * 4 * KIB;
        let held = sim.change(page, page + 4 * KIB, Change::ReadOnly).unwrap();
        sim.restore(held);
        sim.with_batch(|map, batch| map.empty_quarantine(batch));
    }
    assert_eq!(steps, 8);
    assert!(work.step(&mut sim.map).is_ready(), "there is nothing more to be done");
    assert_eq!(sim.map.reserve().tables, 100);
    sim.assert_as_at_boot();
}
