//! Links and names in pages.
//!
//! | in a page | must be |
//! |---|---|
//! | `[text](path)` | a file or a folder, from the page's own folder |
//! | `[text](page.md#heading)` | a heading of that page |
//! | `` [`Name`](file.rs) ``, `` `Name` in [...](file.rs) `` | a word of that file |
//! | `` `rhumb_frames::Name` `` | defined in that crate |
//! | `` `host/frames::tests::name` `` | a function in that module of that crate, or of that file in a crate's `tests/` |
//! | `` `selftest tables::name` `` | an entry of a list of the kernel's tests |
//!
//! Of the path of a name in a crate the last segment counts, because re-exports shorten the rest.

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
            let mut report = |text: String| findings.push(Finding::new(file, line, text));
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
        let text = tree.files.get(&target).filter(|_| target.ends_with(".rs"))?;
        let is_known = name == module || words_of(text).any(|word| word == name);
        (!is_known).then(|| format!("no {name} in {target}"))
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

/// The names that the crates define, and those of the tests.
struct Names<'a> {
    crates: BTreeMap<String, BTreeSet<&'a str>>,
    suites: Suites<'a>,
    /// The full names in the kernel's lists of tests.
    selftests: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(tree: &'a Tree) -> Self {
        let mut crates = BTreeMap::<String, BTreeSet<&str>>::new();
        for (path, text) in tree.ending(".rs") {
            let Some((folder, module)) = path.split_once("/src/") else { continue };
            let Some(package) = package_in(tree, folder) else { continue };
            let all = crates.entry(package.replace('-', "_")).or_default();
            all.extend(module.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part)));
            all.extend(defined(text).map(|(_, name)| name));
            all.extend(text.lines().filter_map(variant));
        }
        let selftests = tree.ending(".rs").flat_map(|(_, text)| text.lines().filter_map(listed)).collect();
        Self { crates, suites: Suites::of(tree), selftests }
    }

    /// Says what is wrong with a code span that names something of a crate, or a test.
    fn complaint(&self, span: &str) -> Option<String> {
        let is_placeholder = |test: &str| test.ends_with(|last: char| last.is_uppercase() || last == ')');
        let is_known = match span.split_once(['/', ' ']) {
            Some(("host", test)) if test.contains("::") && !is_placeholder(test) => self.suites.have(test),
            Some(("selftest", test)) if test.contains("::") && !is_placeholder(test) => {
                self.have_selftest(test)
            }
            _ => true,
        };
        if !is_known {
            return Some(format!("no test {span}"));
        }
        let (package, _) = span.strip_prefix("rhumb_").and_then(|rest| rest.split_once("::"))?;
        let name = name(span)?;
        let Some(all) = self.crates.get(&format!("rhumb_{package}")) else {
            return Some(format!("no crate rhumb_{package}"));
        };
        (!all.contains(name)).then(|| format!("rhumb_{package} defines no {name}"))
    }

    /// Tells whether the kernel has this test, or, where the name ends with `::`, a test of this subject.
    fn have_selftest(&self, test: &str) -> bool {
        if test.ends_with("::") {
            self.selftests.iter().any(|name| name.starts_with(test))
        } else {
            self.selftests.contains(test)
        }
    }
}

/// The modules of each suite of tests: of a library or program, by the name of its package without `rhumb-`, and of a
/// file or folder in a crate's `tests/`, by its own name.
struct Suites<'a>(BTreeMap<String, BTreeMap<String, Definitions<'a>>>);

/// The names that a module defines, each behind the word that defines it.
type Definitions<'a> = BTreeSet<(&'a str, &'a str)>;

impl<'a> Suites<'a> {
    fn of(tree: &'a Tree) -> Self {
        let mut suites = BTreeMap::<String, BTreeMap<String, Definitions<'_>>>::new();
        for (path, text) in tree.ending(".rs") {
            let of_library = path.split_once("/src/").and_then(|(folder, file)| {
                let package = package_in(tree, folder)?;
                Some((package.strip_prefix("rhumb-").unwrap_or(package), file))
            });
            let of_integration = || {
                let (folder, file) = path.split_once("/tests/")?;
                package_in(tree, folder)?;
                Some(file.split_once('/').unwrap_or((file.trim_end_matches(".rs"), "main.rs")))
            };
            let Some((suite, file)) = of_library.or_else(of_integration) else { continue };
            // Models for the checkers are `tests/models.rs`, which is a module of the root.
            let module = file.strip_prefix("tests/").filter(|file| *file == "models.rs").unwrap_or(file);
            let module = module.trim_end_matches(".rs").replace('/', "::");
            let is_root = ["lib", "main", "mod"].contains(&module.as_str());
            let module = if is_root { "" } else { module.strip_suffix("::mod").unwrap_or(&module) };
            let suite = suites.entry(suite.replace('-', "_")).or_default();
            suite.entry(module.to_owned()).or_default().extend(defined(text));
        }
        Self(suites)
    }

    /// Tells whether there is a test `SUITE::PATH`, where a hyphen and the build may follow the suite.
    fn have(&self, test: &str) -> bool {
        let Some((suite, path)) = test.split_once("::") else { return false };
        let suite = suite.split('-').next().unwrap_or(suite);
        let Some(modules) = self.0.get(suite) else { return false };
        let (mut module, name) = path.rsplit_once("::").unwrap_or(("", path));
        let mut wanted = vec![("fn", name)];
        // Modules without a file of their own are defined in that of the module around them.
        loop {
            if let Some(defined) = modules.get(module) {
                return wanted.iter().all(|name| defined.contains(name));
            }
            let (around, inner) = module.rsplit_once("::").unwrap_or(("", module));
            if inner.is_empty() {
                return false;
            }
            wanted.push(("mod", inner));
            module = around;
        }
    }
}

/// Returns the name that a line of a list of tests gives: `name: "protect::i8_a_stray_write"`.
fn listed(line: &str) -> Option<&str> {
    line.split_once("name: \"")?.1.split('"').next()
}

/// Returns the package whose manifest is in `folder`.
fn package_in<'a>(tree: &'a Tree, folder: &str) -> Option<&'a str> {
    package(tree.files.get(&format!("{folder}/Cargo.toml"))?)
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
