use rhumb_bpf::Object;

#[test]
fn the_programs_of_the_tree_are_let_pass() {
    let programs = super::build().expect("the programs of the tree");
    let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
    assert_eq!(names, ["allocs", "flushes", "splits"]);
    for program in &programs {
        // On the largest machine, too.
        for cpus in [1, 1024] {
            let object = Object::from_elf(&program.name, &program.object, cpus).expect("it is let pass");
            assert!(object.programs().iter().all(|program| !program.event().as_str().is_empty()));
        }
    }
}
