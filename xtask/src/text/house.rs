//! The picture of the house in README, held against the manifests.
//!
//! The picture is the fence under "## The house". A line `name ──> a b c` says that the crate `name` uses `a`, `b` and
//! `c`; lines without an arrow continue the one above, if they are names, or are titles. It must name every package of
//! the workspace once, with exactly the dependencies of its manifest (those of tests are not drawn), and each crate
//! above all that it uses. A dependency may be of one target, of the build script, in a table of its own, or under
//! another name.

use std::collections::{BTreeMap, BTreeSet};

use super::links::package;
use super::{Finding, Tree, is_fence};

const PAGE: &str = "README.md";
const TITLE: &str = "## The house";
const ARROW: &str = "──>";

/// A crate in the picture: the line where it is drawn, and the crates that it uses.
struct Drawn<'a> {
    line: usize,
    uses: Vec<&'a str>,
}

/// The picture: the line of its title, the crates in it by name, and the lines of it that are wrong in themselves.
struct Picture<'a> {
    title: usize,
    drawn: BTreeMap<&'a str, Drawn<'a>>,
    findings: Vec<Finding>,
}

/// Returns the differences between the picture and the manifests.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let built = manifests(tree);
    if built.is_empty() {
        return Vec::new();
    }
    let Some(Picture { title, drawn, mut findings }) = tree.files.get(PAGE).and_then(|page| picture(page))
    else {
        return vec![Finding::new(PAGE, 1, format!("no picture of the house under the heading `{TITLE}`"))];
    };
    let mut report = |line, text: String| findings.push(Finding::new(PAGE, line, text));
    for (name, uses) in &built {
        let Some(shown) = drawn.get(name) else {
            report(title, format!("the picture of the house does not have {name}"));
            continue;
        };
        for other in uses.iter().filter(|other| !shown.uses.contains(other)) {
            report(shown.line, format!("{name} uses {other}, which the picture does not show"));
        }
        for other in shown.uses.iter().filter(|other| !uses.contains(*other)) {
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

/// Reads the picture, if the page has one.
fn picture(page: &str) -> Option<Picture<'_>> {
    let mut lines = page.lines().enumerate().skip_while(|(_, line)| *line != TITLE);
    let (title, _) = lines.next()?;
    let mut picture = Picture { title: title + 1, drawn: BTreeMap::new(), findings: Vec::new() };
    let fence = lines.skip_while(|(_, line)| !is_fence(line)).skip(1);
    let mut last = "";
    for (index, line) in fence.take_while(|(_, line)| !is_fence(line)) {
        let mut report = |text| picture.findings.push(Finding::new(PAGE, index + 1, text));
        let uses = match line.split_once(ARROW) {
            Some((name, uses)) => {
                last = name.trim();
                if picture.drawn.contains_key(last) {
                    report(format!("the picture has {last} twice"));
                }
                picture.drawn.entry(last).or_insert(Drawn { line: index + 1, uses: Vec::new() });
                uses
            }
            // Continuations are indented further than titles.
            None if line.starts_with("          ") => line,
            None => continue,
        };
        match picture.drawn.get_mut(last) {
            Some(shown) => shown.uses.extend(uses.split_whitespace().filter(|name| *name != "nothing")),
            None => report("a line that continues no other".to_owned()),
        }
    }
    Some(picture)
}

/// Returns the packages of the workspace, each with those of them that it uses outside of tests.
fn manifests(tree: &Tree) -> BTreeMap<&str, BTreeSet<&str>> {
    let shared: BTreeMap<&str, &str> =
        tree.files.get("Cargo.toml").into_iter().flat_map(|toml| dependencies(toml)).collect();
    let mut packages = BTreeMap::new();
    for (path, toml) in tree.ending("Cargo.toml") {
        // Fuzz targets and stand-ins for other crates are workspaces, or names, of their own.
        let Some(name) = package(toml).and_then(own) else { continue };
        if toml.lines().any(|line| line == "[workspace]") && path != "Cargo.toml" {
            continue;
        }
        // The workspace's own table may have given a package another name.
        let uses = dependencies(toml).into_iter().map(|(key, package)| match shared.get(key) {
            Some(shared) if key == package => shared,
            _ => package,
        });
        packages.insert(name, uses.filter_map(own).collect());
    }
    packages
}

/// Returns the name in the picture of one of our packages.
fn own(package: &str) -> Option<&str> {
    if package == "xtask" { Some(package) } else { package.strip_prefix("rhumb-") }
}

/// Returns the dependencies of a manifest outside of tests: the name of each, and that of its package.
fn dependencies(toml: &str) -> Vec<(&str, &str)> {
    let is_list =
        |table: &str| matches!(table.rsplit('.').next(), Some("dependencies" | "build-dependencies"));
    let mut found = Vec::<(&str, &str)>::new();
    // Of the table that a line lies in: whether it lists dependencies, and whether it is of one alone.
    let (mut lists, mut is_of_one) = (false, false);
    for line in toml.lines() {
        let renamed = package_key(line);
        if let Some(table) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            let (around, name) = table.rsplit_once('.').unwrap_or(("", table));
            (lists, is_of_one) = (is_list(table), is_list(around));
            if is_of_one {
                found.push((name, name));
            }
        } else if let (true, Some((key, _))) = (lists, line.split_once(['.', '='])) {
            found.push((key.trim(), renamed.unwrap_or(key.trim())));
        } else if let (true, Some(package), Some((_, last))) = (is_of_one, renamed, found.last_mut()) {
            *last = package;
        }
    }
    found
}

/// Returns the value of the key `package` in a line of a manifest.
fn package_key(line: &str) -> Option<&str> {
    let (_, value) = line.split_once("package")?;
    value.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?.split('"').next()
}
