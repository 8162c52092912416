use std::fs;

use super::{API, PROBE, names};
use crate::paths;

#[test]
fn each_folder_but_the_one_of_tools_is_a_module() {
    let folder = paths::root().join("modules");
    let names = names(&folder).expect("the folder is there");
    assert!(
        names.iter().any(|name| name == "memtest") && names.iter().any(|name| name == PROBE),
        "{names:?}"
    );
    assert!(names.iter().all(|name| name != API));
    // The name of a module is that of its package and of its program.
    for name in names {
        let manifest = fs::read_to_string(folder.join(&name).join("Cargo.toml")).expect("a manifest");
        assert!(manifest.matches(&format!("name = \"{name}\"")).count() >= 1, "{name}");
    }
}
