//! The steps that are found rather than listed.

use std::collections::BTreeSet;
use std::fs;

use super::{CHECKERS, KERNELS, steps};
use crate::paths;

/// Returns the packages whose manifests have dependencies for this model checker.
fn modelled(checker: &str) -> BTreeSet<String> {
    let crates = ["base", "memory", "parts"].map(|folder| paths::root().join("crates").join(folder));
    let folders = crates.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder of crates"));
    let manifests = folders.map(|folder| folder.expect("a crate").path().join("Cargo.toml"));
    let read = manifests.filter_map(|manifest| fs::read_to_string(manifest).ok());
    let has_models = |toml: &String| toml.contains(&format!("[target.'cfg({checker})'.dev-dependencies]"));
    read.filter(has_models).filter_map(|toml| Some(toml.split('"').nth(1)?.to_owned())).collect()
}

#[test]
fn every_package_with_models_is_linted() {
    let steps = steps().expect("steps");
    for checker in CHECKERS {
        let step = steps.iter().find(|step| step.name.ends_with(&format!("for {checker}"))).expect(checker);
        let packages = modelled(checker);
        assert!(packages.len() > 1, "{packages:?}");
        for package in packages {
            assert!(step.words.contains(&format!("-p {package} ")), "{package} for {checker}");
        }
    }
}

#[test]
fn every_feature_of_the_kernel_is_linted_with_the_laboratory_and_without() {
    let toml = fs::read_to_string(paths::root().join("kernel/Cargo.toml")).expect("the kernel's manifest");
    let features = toml.lines().skip_while(|line| *line != "[features]").skip(1);
    let features =
        features.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once(" = "));
    let mut names: Vec<&str> = features.map(|(name, _)| name).collect();
    assert!(names.len() >= 3, "{names:?}");
    names.retain(|name| *name != "lab");
    for name in names {
        assert!(KERNELS.contains(&name) && KERNELS.contains(&&*format!("{name},lab")), "{name}");
    }
}

#[test]
fn every_workspace_of_fuzz_targets_is_checked() {
    let steps = steps().expect("steps");
    for folder in ["parts/bootinfo", "memory/frames", "memory/slab", "parts/modules"] {
        let manifest = format!("crates/{folder}/fuzz/Cargo.toml");
        assert!(steps.iter().any(|step| step.words.contains(&manifest)), "{manifest}");
    }
}
