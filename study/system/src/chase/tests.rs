use super::*;

#[test]
fn a_chase_visits_each_node_once_before_it_comes_back() {
    for nodes in [Nodes::Lines, Nodes::Pages] {
        // Not a power of two: the last 37 words are left out.
        let mut chase = Chase::over(vec![0; 4096 * nodes.words() + 37], nodes, || false).expect("a chase");
        let mut seen = vec![false; 4096];
        for _ in 0..4096 {
            assert_eq!(nodes.place(chase.at / nodes.words()), chase.at);
            assert!(!std::mem::replace(&mut seen[chase.at / nodes.words()], true));
            chase.load(1);
        }
        assert_eq!(chase.at, 0);
        assert!(chase.memory[4096 * nodes.words()..].iter().all(|word| *word == 0));
    }
}

#[test]
fn most_loads_leave_their_page() {
    let mut chase = Chase::over(vec![0; (1 << 20) / 8], Nodes::Lines, || false).expect("a chase");
    let mut stayed = 0;
    for _ in 0..10_000 {
        let page = chase.at / PAGE_WORDS;
        chase.load(1);
        stayed += usize::from(chase.at / PAGE_WORDS == page);
    }
    assert!(stayed < 100, "{stayed} of 10,000 loads stay in their page of 256");
}

#[test]
fn the_nodes_of_pages_fill_all_sets_of_a_cache() {
    let mut lines = [0; PAGE_WORDS / LINE_WORDS];
    (0..6400).for_each(|number| lines[Nodes::Pages.place(number) % PAGE_WORDS / LINE_WORDS] += 1);
    assert_eq!(lines, [100; 64]);
}

#[test]
fn a_chase_over_nothing_ends() {
    let mut chase = Chase::over(Vec::new(), Nodes::Pages, || false).expect("a chase");
    assert!(chase.follow(3) >= 0.0);
}

#[test]
fn the_wish_to_end_ends_the_writing_and_the_warm_up() {
    assert!(Chase::over(vec![0; 64], Nodes::Lines, || true).is_none());
    let chase = Chase::over(vec![0; 64], Nodes::Lines, || false).expect("a chase");
    assert!(chase.warm_up(|| true).is_none());
}

#[test]
fn a_warm_up_visits_every_node() {
    let chase = Chase::over(vec![0; 1 << 20], Nodes::Lines, || false).expect("a chase");
    let chase = chase.warm_up(|| false).expect("a chase");
    // 131,072 nodes, two stretches: a whole lap.
    assert_eq!(chase.at, 0);
}
