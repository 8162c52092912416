//! A script frees what it has taken, and is the same each time.

use super::*;

#[test]
fn a_script_keeps_its_target_and_its_slots() {
    let script = Script::new(1, 10_000, 5_000);
    let mut slots = vec![None; script.slots];
    let mut live = 0;
    for (index, &(slot, step)) in script.fill.iter().chain(&script.churn).enumerate() {
        match step {
            Step::Get(order) => {
                assert_eq!(slots[slot as usize].replace(order), None);
                live += order.frames();
            }
            Step::Put(order) => {
                assert_eq!(slots[slot as usize].take(), Some(order));
                live -= order.frames();
            }
        }
        assert!(live <= 10_000);
        assert!(index < script.fill.len() || live > 10_000 - 1024);
    }
    assert_eq!(script.live.iter().map(|(_, order)| order.frames()).sum::<u64>(), live);
    assert!(script.live.iter().all(|&(slot, order)| slots[slot as usize] == Some(order)));
    let single = script.live.iter().filter(|(_, order)| *order == Order::BASE).count();
    let third = script.live.len() / 4..script.live.len() * 2 / 5;
    assert!(third.contains(&single), "a third of them are order 0");
}
