//! Recorded trees of `/proc`: links that lead nowhere, processes that vanish, names that lie.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

/// A tree of files that looks like `/proc`.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().expect("a folder"));
        tree.file("stat", "btime 1000\n");
        tree
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("written");
    }

    fn process(&self, pid: u32, locked_kb: u32) -> PathBuf {
        self.file(
            &format!("{pid}/status"),
            &format!("Name:\tp{pid}\nUid:\t1\t1\t1\t1\nNSpid:\t{pid}\nVmLck:\t{locked_kb} kB\n"),
        );
        self.file(
            &format!("{pid}/stat"),
            &format!("{pid} (p) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 200 0"),
        );
        self.file(&format!("{pid}/maps"), "");
        let fds = self.0.path().join(format!("{pid}/fd"));
        fs::create_dir_all(&fds).expect("a folder");
        fds
    }

    fn scan(&self) -> Scan {
        let root = Root {
            proc: self.0.path().into(),
            sys: self.0.path().into(),
            passwd: self.0.path().join("passwd"),
        };
        scan(&root, &Availability::Absent, Duration::from_secs(30)).expect("readable")
    }
}

const MAPS: &str = "7f00-8f00 rw-s 00001000 00:0e 77 /secretmem (deleted)\n";

#[test]
fn a_mapping_is_found_with_and_without_locked_memory() {
    for locked in [0, 4] {
        let tree = Tree::new();
        tree.process(5, locked);
        tree.file("5/maps", MAPS);
        tree.file("5/smaps", &format!("{MAPS}Rss:   4 kB\n"));
        let scan = tree.scan();
        let holder = &scan.holders[&5];
        assert_eq!(holder.process.command, "p5");
        assert_eq!(
            holder.process.began_unix_s,
            Some(1000.0 + 200.0 / rustix::param::clock_ticks_per_second() as f64)
        );
        let hold = holder.files.values().next().expect("a file");
        assert_eq!((hold.mappings, hold.mapped_bytes, hold.touched_bytes), (1, 0x1000, Some(4096)));
        assert_eq!(scan.secret_bytes(), 0x2000, "the end of the mapping in the file");
    }
}

#[test]
fn without_smaps_the_touched_bytes_are_not_known() {
    let tree = Tree::new();
    tree.process(5, 4);
    tree.file("5/maps", MAPS);
    let scan = tree.scan();
    assert_eq!(scan.holders[&5].files.values().next().expect("a file").touched_bytes, None);
}

#[test]
fn a_file_with_that_name_on_a_disk_is_no_secret_memory() {
    let tree = Tree::new();
    let fds = tree.process(5, 0);
    // The link exists under the right name and leads nowhere: nothing can be asked, so that it is left out.
    symlink("/secretmem (deleted)", fds.join("3")).expect("a link");
    symlink("socket:[12]", fds.join("4")).expect("a link");
    assert!(tree.scan().holders.is_empty());
}

#[test]
fn a_process_may_vanish_at_any_time() {
    let tree = Tree::new();
    fs::create_dir_all(tree.0.path().join("6")).expect("a folder");
    fs::create_dir_all(tree.0.path().join("7/fd")).expect("a folder");
    tree.file("8/maps", MAPS);
    tree.file("9/status", "\u{fffd}\u{0}rubbish");
    let scan = tree.scan();
    assert_eq!((scan.processes, scan.unreadable, scan.left), (4, 0, 0));
    assert!(scan.holders.is_empty());
}

#[test]
fn programs_are_found_by_their_descriptors() {
    let tree = Tree::new();
    for pid in [5, 6] {
        let fds = tree.process(pid, 0);
        symlink("anon_inode:bpf-prog", fds.join("3")).expect("a link");
        tree.file(&format!("{pid}/fdinfo/3"), "prog_type:\t6\nprog_jited:\t1\nprog_id:\t42\n");
    }
    let scan = tree.scan();
    assert_eq!(scan.programs.len(), 1);
    assert_eq!(scan.programs[&42].holders.len(), 2);
}

#[test]
fn the_search_ends_when_the_time_is_up() {
    let tree = Tree::new();
    (1..=50).for_each(|pid| drop(tree.process(pid, 0)));
    let root = Root { proc: tree.0.path().into(), sys: tree.0.path().into(), passwd: "none".into() };
    let scan = scan(&root, &Availability::Absent, Duration::ZERO).expect("readable");
    assert_eq!((scan.processes, scan.left), (50, 50));
    assert!(!scan.is_complete());
}

#[test]
fn a_search_that_ends_early_has_seen_processes_whole() {
    let tree = Tree::new();
    for pid in 1..=50 {
        tree.process(pid, 4);
        tree.file(&format!("{pid}/maps"), MAPS);
    }
    let root = Root { proc: tree.0.path().into(), sys: tree.0.path().into(), passwd: "none".into() };
    let asked = std::cell::Cell::new(0);
    let is_late = || asked.replace(asked.get() + 1) >= 25;
    let scan = scan_until(&root, &Availability::Absent, &is_late).expect("readable");
    assert!(scan.left > 0, "the time is up early");
    assert_eq!(scan.holders.len() as u32, 50 - scan.left, "each process that was reached");
    assert!(scan.holders.len() >= 20, "{}", scan.holders.len());
}

#[test]
fn a_deleted_file_of_that_name_is_no_secret_memory() {
    let listed = "21 1 0:14 / / rw - tmpfs none rw\n";
    let flags = |flags: &str| format!("{MAPS}Rss:   4 kB\nVmFlags: rd wr sh {flags}\n");
    for (maps, mountinfo) in
        [(MAPS.replace("00:0e", "fe:00"), ""), (MAPS.to_owned(), listed), (flags("lo"), "")]
    {
        let tree = Tree::new();
        tree.process(5, 4);
        tree.file("5/maps", &maps);
        tree.file("5/smaps", &maps);
        tree.file("5/mountinfo", mountinfo);
        assert!(tree.scan().holders.is_empty(), "{maps}{mountinfo}");
    }
    let tree = Tree::new();
    tree.process(5, 4);
    tree.file("5/maps", MAPS);
    tree.file("5/smaps", &flags("lo dd"));
    assert_eq!(tree.scan().holders.len(), 1);
}

#[test]
fn a_link_of_guest_memory_is_exact() {
    let tree = Tree::new();
    let fds = tree.process(5, 0);
    let file = tree.0.path().join("anon_inode:[kvm-gmem] guest_memfd");
    fs::write(&file, "4096").expect("written");
    symlink(&file, fds.join("3")).expect("a link");
    assert!(tree.scan().guests.is_empty(), "a file of a path");
}

#[test]
fn a_page_that_is_mapped_twice_counts_once() {
    let page = 4096;
    assert_eq!(at_least(vec![(0..4 * page, 3 * page), (0..4 * page, 3 * page)]), 3 * page);
    assert_eq!(at_least(vec![(4 * page..8 * page, page), (0..4 * page, 2 * page)]), 3 * page, "apart");
    assert_eq!(
        at_least(vec![(0..2 * page, page), (page..3 * page, 2 * page), (3 * page..4 * page, page)]),
        3 * page
    );
    let tree = Tree::new();
    tree.process(5, 4);
    let second = MAPS.replace("7f00-8f00", "9f00-af00");
    tree.file("5/maps", &format!("{MAPS}{second}"));
    tree.file("5/smaps", &format!("{MAPS}Rss: 4 kB\n{second}Rss: 4 kB\n"));
    let scan = tree.scan();
    assert_eq!(scan.holders[&5].files.values().next().and_then(|hold| hold.touched_bytes), Some(4096));
    assert_eq!(scan.touched_bytes(), 4096);
}
