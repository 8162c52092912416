use super::*;

#[test]
fn a_machine_counts_after_its_commands() {
    let plan = plan(true);
    let aged = plan.iter().find(|machine| machine.label.contains("1 in 8")).unwrap();
    let commands = aged.commands();
    assert_eq!(commands[0], "directmap age 1-in-8");
    assert!(commands[1].starts_with("count empty study "), "{commands:?}");
    assert_eq!(commands[2], "meminfo");
    let busy = plan.iter().find(|machine| machine.cpus == 4).unwrap();
    assert!(busy.commands()[0].starts_with("count busy empty flush "));
}

#[test]
fn each_part_has_machines_and_each_machine_a_name_of_its_own() {
    for quick in [true, false] {
        let plan = plan(quick);
        for part in Part::ALL {
            let labels: Vec<&String> =
                plan.iter().filter(|machine| machine.part == part).map(|machine| &machine.label).collect();
            assert!(labels.len() > 1, "{part:?}");
            assert!(labels.iter().all(|label| labels.iter().filter(|other| other == &label).count() == 1));
        }
        // The verdict quotes this machine as its first.
        assert_eq!(plan[0].label, HUGE);
    }
    assert!(plan(true).len() < plan(false).len());
}
