//! The picture of the house in README, held against the manifests.
//!
//! The picture is the fence under "## The house". A line `name ──> a b c` says that the crate `name` uses `a`, `b` and
//! `c`; lines without an arrow continue the one above, if they are names, or are titles. It must name every package of
//! the workspace once, with exactly the dependencies of its manifest (those of tests are not drawn), and each crate
//! above all that it uses.

use std::collections::BTreeMap;

use super::links::package;
use super::{Finding, Tree};

const PAGE: &str = "README.md";
const ARROW: &str = "──>";

/// A crate in the picture: the line where it is drawn, and the crates that it uses.
struct Drawn<'a> {
    line: usize,
    uses: Vec<&'a str>,
}

/// Returns the differences between the picture and the manifests.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.files.get(PAGE) else { return Vec::new() };
    let (start, drawn) = picture(page);
    let built = manifests(tree);
    let mut findings = Vec::new();
    let mut report = |line, text| findings.push(Finding { file: PAGE.to_owned(), line, text });
    for (name, uses) in &built {
        let Some(shown) = drawn.get(name) else {
            report(start, format!("the picture of the house does not have {name}"));
            continue;
        };
        for other in uses.iter().filter(|other| !shown.uses.contains(other)) {
            report(shown.line, format!("{name} uses {other}, which the picture does not show"));
        }
        for other in shown.uses.iter().filter(|other| !uses.contains(other)) {
            report(shown.line, format!("the picture shows that {name} uses {other}, which it does not"));
        }
    }
    for (name, shown) in &drawn {
        if !built.contains_key(name) {
            report(shown.line, format!("the picture has {name}, which is no package"));
        }
        for other in
            shown.uses.iter().filter(|other| drawn.get(*other).is_some_and(|other| other.line <= shown.line))
        {
            report(shown.line, format!("the arrow from {name} to {other} goes up"));
        }
    }
    findings
}

/// Reads the picture. Returns the line of its title, too.
fn picture(page: &str) -> (usize, BTreeMap<&str, Drawn<'_>>) {
    let mut lines = page.lines().enumerate().skip_while(|(_, line)| *line != "## The house");
    let start = lines.next().map_or(1, |(index, _)| index + 1);
    let fence = lines.skip_while(|(_, line)| !line.starts_with("```")).skip(1);
    let mut drawn = BTreeMap::new();
    let mut last = None;
    for (index, line) in fence.take_while(|(_, line)| !line.starts_with("```")) {
        let (name, uses) = match line.split_once(ARROW) {
            Some((name, uses)) => (name.trim(), uses),
            // Continuations are indented further than titles.
            None if line.starts_with("          ") => (last.unwrap_or_default(), line),
            None => continue,
        };
        last = Some(name);
        let entry = drawn.entry(name).or_insert(Drawn { line: index + 1, uses: Vec::new() });
        entry.uses.extend(uses.split_whitespace().filter(|name| *name != "nothing"));
    }
    (start, drawn)
}

/// Returns the packages of the workspace, each with those of them that it uses outside of tests.
fn manifests(tree: &Tree) -> BTreeMap<&str, Vec<&str>> {
    let own = |name: &'static str| move |line: &'_ str| line.starts_with(name);
    let mut packages = BTreeMap::new();
    for (path, toml) in tree.ending("Cargo.toml") {
        // Fuzz targets and stand-ins for other crates are workspaces, or names, of their own.
        let Some(name) = package(toml).filter(|name| name.starts_with("rhumb-") || *name == "xtask") else {
            continue;
        };
        if toml.lines().any(own("[workspace]")) && path != "Cargo.toml" {
            continue;
        }
        let section = toml.lines().skip_while(|line| *line != "[dependencies]").skip(1);
        let lines = section.take_while(|line| !line.starts_with('['));
        let uses = lines.filter_map(|line| line.strip_prefix("rhumb-")?.split(['.', ' ', '=']).next());
        packages.insert(name.strip_prefix("rhumb-").unwrap_or(name), uses.collect());
    }
    packages
}
