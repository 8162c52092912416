use super::*;

/// Makes a tree of control groups in a folder of its own, and removes it.
struct Tree(PathBuf);

impl Tree {
    fn of(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("rhumb-groups-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        Self(root)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn the_tightest_of_the_groups_counts() {
    let tree = Tree::of(
        "tightest",
        &[
            ("outer/memory.max", "1000000\n"),
            ("outer/memory.current", "900000\n"),
            ("outer/memory.stat", "anon 500000\ninactive_file 50000\nactive_file 1\n"),
            ("outer/inner/memory.max", "max\n"),
            ("outer/inner/memory.current", "800000\n"),
            ("memory.stat", "inactive_file 1\n"),
        ],
    );
    assert_eq!(Group::UNIFIED.left(&tree.0, "/outer/inner"), Some(150_000));
    assert_eq!(Group::UNIFIED.left(&tree.0, "/outer/missing/deeper"), Some(150_000));
    assert_eq!(Group::UNIFIED.left(&tree.0, "/elsewhere"), None);
    assert_eq!(Group::UNIFIED.left(&tree.0, "/"), None);
}

#[test]
fn groups_of_version_1_have_files_of_other_names() {
    let tree = Tree::of(
        "legacy",
        &[
            ("pod/memory.limit_in_bytes", "5000\n"),
            ("pod/memory.usage_in_bytes", "6000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "100\n"),
        ],
    );
    assert_eq!(Group::LEGACY.left(&tree.0, "/pod"), Some(0));
    assert_eq!(Group::LEGACY.left(&tree.0, "/"), Some(9_223_372_036_854_771_612));
}

#[test]
fn this_machine_has_some_memory() {
    let available = available_bytes().expect("Linux says so since 3.14");
    let total = Meminfo::current().expect("/proc/meminfo").mem_total;
    assert!(available <= total, "{available} of {total}");
}
