//! Links and names in pages.
//!
//! | in a page | must be |
//! |---|---|
//! | `[text](path)` | a file or a folder, from the page's own folder |
//! | `[text](page.md#heading)` | a heading of that page |
//! | `` [`Name`](file.rs) ``, `` `Name` in [...](file.rs) `` | a word of that file |
//! | `` `rhumb_frames::Name` `` | defined in that crate |
//! | `` `host/frames::tests::name` ``, `` `selftest tables::name` `` | a function, or an entry of a list of tests, somewhere |
//!
//! The last segment of a path counts, because re-exports shorten the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Tree, prose, words_of};

/// The words that define the name behind them.
const DEFINERS: [&str; 10] =
    ["fn", "struct", "enum", "union", "trait", "const", "static", "type", "mod", "macro_rules"];

/// Returns the links that lead nowhere and the names that are not defined where a page says.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let names = Names::of(tree);
    let mut findings = Vec::new();
    for (file, text) in tree.ending(".md") {
        let mut above = "";
        for (line, prose) in prose(text) {
            let mut report = |text: String| findings.push(Finding { file: file.to_owned(), line, text });
            let links = links(above, prose);
            above = prose;
            for link in &links {
                if let Some(complaint) = complaint(tree, file, link) {
                    report(complaint);
                }
            }
            for span in spans(prose) {
                if let Some(complaint) = names.complaint(span) {
                    report(complaint);
                }
            }
        }
    }
    findings
}

/// A link: its label, its target, and the code span before " in " that speaks of a name in the target.
struct Link<'a> {
    label: &'a str,
    target: &'a str,
    subject: Option<&'a str>,
}

/// Returns the links of a line. The name that a link at its beginning speaks of is at the end of the line above.
fn links<'a>(above: &'a str, line: &'a str) -> Vec<Link<'a>> {
    let mut links = Vec::new();
    let mut from = 0;
    while let Some(middle) = line[from..].find("](").map(|at| from + at) {
        let Some(end) = line[middle..].find(')').map(|at| middle + at) else { break };
        let start = line[..middle].rfind('[').unwrap_or(middle);
        let before = if line[..start].trim().is_empty() { above } else { &line[..start] };
        let before = before.trim_end().strip_suffix(" in").map(str::trim_end);
        let subject = before.and_then(|text| text.strip_suffix('`')).and_then(|text| text.rsplit_once('`'));
        let label = line.get(start + 1..middle).unwrap_or("");
        links.push(Link { label, target: &line[middle + 2..end], subject: subject.map(|(_, name)| name) });
        from = end;
    }
    links
}

/// Says what is wrong with a link of the page `file`.
fn complaint(tree: &Tree, file: &str, link: &Link<'_>) -> Option<String> {
    let (path, heading) = link.target.split_once('#').unwrap_or((link.target, ""));
    if path.contains("://") || (path.is_empty() && heading.is_empty()) {
        return None;
    }
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let target = if path.is_empty() { file.to_owned() } else { resolve(folder, path)? };
    if !tree.has(&target) && !BARE.contains(&&*target) {
        return Some(format!("no such file: {target}"));
    }
    if !heading.is_empty()
        && !tree.files.get(&target).is_some_and(|text| headings(text).any(|each| each == heading))
    {
        return Some(format!("no heading #{heading} in {target}"));
    }
    let label = link.label.strip_prefix('`').and_then(|label| label.strip_suffix('`'));
    [label, link.subject].into_iter().flatten().filter_map(name).find_map(|name| {
        let module = target.rsplit('/').next()?.trim_end_matches(".rs");
        let sources = [(target.as_str(), tree.files.get(&target).map_or("", String::as_str)), ("", module)];
        let known = sources
            .into_iter()
            .chain(tree.below(&target))
            .any(|(_, text)| words_of(text).any(|word| word == name));
        (!known && target.ends_with(".rs")).then(|| format!("no {name} in {target}"))
    })
}

/// Files that pages link to and that have no ending.
const BARE: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];

/// Joins a folder and a relative path. `None` where the path leaves the tree.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Returns the anchors of a page's headings, as GitHub makes them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(|each| each.is_alphanumeric() || " -_".contains(*each))
            .collect::<String>()
            .replace(' ', "-")
    })
}

/// Returns the last segment of a code span that is the path of a name: `Mapper::map`, `rhumb_frames::Zone`, `walk()`.
fn name(span: &str) -> Option<&str> {
    let path = span.strip_suffix("()").unwrap_or(span);
    let last = path.rsplit("::").next()?;
    let word =
        |text: &str| !text.is_empty() && text.chars().all(|each| each.is_alphanumeric() || each == '_');
    path.split("::")
        .all(word)
        .then_some(last)
        .filter(|last| !last.starts_with(|first: char| first.is_ascii_digit()))
}

/// Returns the code spans of a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The names that the crates define, and those that a test can have: of functions, and of the kernel's lists of tests.
struct Names<'a> {
    crates: BTreeMap<String, BTreeSet<&'a str>>,
    tests: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(tree: &'a Tree) -> Self {
        let mut names = Self { crates: BTreeMap::new(), tests: BTreeSet::new() };
        for (path, text) in tree.ending(".rs") {
            names.tests.extend(defined(text).filter(|(definer, _)| *definer == "fn").map(|(_, name)| name));
            names.tests.extend(text.lines().filter_map(listed));
            let Some((folder, module)) = path.split_once("/src/") else { continue };
            let Some(package) =
                tree.files.get(&format!("{folder}/Cargo.toml")).and_then(|toml| package(toml))
            else {
                continue;
            };
            let all = names.crates.entry(package.replace('-', "_")).or_default();
            all.extend(module.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part)));
            all.extend(defined(text).map(|(_, name)| name));
            all.extend(text.lines().filter_map(variant));
        }
        names
    }

    /// Says what is wrong with a code span that names something of a crate, or a test.
    fn complaint(&self, span: &str) -> Option<String> {
        let test = span
            .strip_prefix("host/")
            .or_else(|| span.strip_prefix("selftest "))
            .filter(|_| span.contains("::"));
        if let Some(test) = test {
            let name = name(test.split_once("::")?.1)?;
            let is_placeholder = name.chars().all(char::is_uppercase);
            return (!is_placeholder && !self.tests.contains(name)).then(|| format!("no test {name}"));
        }
        let (package, _) = span.strip_prefix("rhumb_").and_then(|rest| rest.split_once("::"))?;
        let name = name(span)?;
        let Some(all) = self.crates.get(&format!("rhumb_{package}")) else {
            return Some(format!("no crate rhumb_{package}"));
        };
        (!all.contains(name)).then(|| format!("rhumb_{package} defines no {name}"))
    }
}

/// Returns the last segment of the name that a line of a list of tests gives: `name: "protect::i8_a_stray_write"`.
fn listed(line: &str) -> Option<&str> {
    line.split_once("name: \"")?.1.split('"').next()?.rsplit("::").next()
}

/// Returns the name of the package that a manifest describes.
pub(super) fn package(toml: &str) -> Option<&str> {
    toml.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
}

/// Returns the names that a source file defines, each with the word that defines it.
fn defined(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| {
        let pairs = words_of(line).zip(words_of(line).skip(1));
        pairs.filter(|(definer, _)| DEFINERS.contains(definer))
    })
}

/// Returns the name at the front of a line that may be a variant, a field or an associated constant.
fn variant(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let end = line.find(|each: char| !each.is_alphanumeric() && each != '_')?;
    line[end..].starts_with([',', '(', ' ', ':']).then_some(&line[..end]).filter(|name| !name.is_empty())
}
