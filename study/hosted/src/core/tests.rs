use super::*;

#[test]
fn a_stay_ends_where_it_began() {
    std::thread::spawn(|| {
        let before = sched_getaffinity(None).unwrap();
        let core = Core::stay();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        assert!(core.huge_pages().ends_with("hugepages"));
        drop(core);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    })
    .join()
    .unwrap();
}

#[test]
fn finds_the_node_of_a_core() {
    let cores = std::env::temp_dir().join(format!("rhumb-cores-{}", std::process::id()));
    for folder in ["cpu3/topology", "cpu3/node1", "cpu4/cache"] {
        fs::create_dir_all(cores.join(folder)).unwrap();
    }
    assert_eq!(node_of(&cores, 3), Some(1));
    assert_eq!(node_of(&cores, 4), None);
    assert_eq!(node_of(&cores, 5), None);
    fs::remove_dir_all(cores).unwrap();
}
