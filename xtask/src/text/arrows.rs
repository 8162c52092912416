//! The arrows between modules: in the kernel each room names only those below it, and modules of a crate, the kernel
//! included, name each other in no circle.
//!
//! The kernel's rooms and their order are the table at the head of `kernel/src/main.rs`. Every path that begins with
//! `crate`, `super` or `self` is an arrow from the module where it is written to the module that it leads to; a name
//! that a module passes on (`pub use`) leads to where it comes from. Where modules lie in folders, the folders are
//! compared: an arrow from `a/x.rs` to `b/y.rs` is one from `a` to `b`, and `x` and `y` are compared with their own
//! neighbours. A module and the modules inside it are one for this check, since each needs the other. Tests are left
//! out.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, tokens};
use super::{Finding, Tree};

/// The kernel's root, whose head lists the rooms.
const KERNEL: &str = "kernel/src/main.rs";

/// Crates whose modules name each other in a circle, with the reason.
const WITH_CIRCLES: [&str; 1] = [
    // Its modules have the names and the order of the framework that it stands in for.
    "tools/bench/ostd/src",
];

/// A module by its path from the crate's root.
type Path = Vec<String>;

/// A path in the source, as far as it is known where it leads.
struct Arrow<'a> {
    file: &'a str,
    line: usize,
    from: Path,
    to: Path,
}

/// Returns the arrows that go up in the kernel, and the circles in crates.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = rooms(tree);
    for folder in crates(tree) {
        let found = circles(tree, &folder);
        match (WITH_CIRCLES.contains(&folder.as_str()), found.is_empty()) {
            (false, _) => findings.extend(found),
            (true, true) => {
                findings.push(Finding::new(&folder, 1, "no circle is left: take it off the list"));
            }
            (true, false) => {}
        }
    }
    findings
}

/// Returns the folder of sources of each crate.
fn crates(tree: &Tree) -> impl Iterator<Item = String> + '_ {
    tree.ending("Cargo.toml")
        .filter_map(|(file, _)| Some(format!("{}/src", file.strip_suffix("/Cargo.toml")?)))
}

/// Returns each arrow from a room of the kernel to one that the table lists above it.
fn rooms(tree: &Tree) -> Vec<Finding> {
    let folder = KERNEL.strip_suffix("/main.rs").unwrap_or_default();
    let Some(root) = tree.files.get(KERNEL) else {
        let sources = tree.below(folder).take(1);
        let text = || format!("{KERNEL}, whose head lists the rooms, is missing");
        return sources.map(|(file, _)| Finding::new(file, 1, text())).collect();
    };
    let order = listed(root);
    let place = |room: &String| order.iter().position(|listed| listed == room);
    let mut findings = Vec::new();
    let mut report = |file: &str, line, text: String| findings.push(Finding::new(file, line, text));
    let source = Source::read(tree, folder);
    for room in source.modules.keys().filter_map(|module| module.first()).collect::<BTreeSet<_>>() {
        if place(room).is_none() {
            report(KERNEL, 1, format!("the table of rooms does not have {room}"));
        }
    }
    for arrow in source.arrows() {
        let Some(from) = arrow.from.first() else { continue };
        let (goes_up, to) = match arrow.to.first() {
            Some(to) => (place(to) < place(from), arrow.to.join("::")),
            None => (true, "main".into()),
        };
        if goes_up {
            report(arrow.file, arrow.line, format!("the arrow from {from} to {to} goes up"));
        }
    }
    findings
}

/// Returns the rooms in the table at the head of the kernel's root, but for the root itself.
fn listed(root: &str) -> Vec<String> {
    let rows = root
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .filter_map(|line| line.strip_prefix("//! | [`"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
}

/// Returns a finding for each circle among modules that lie beside each other in `folder` or below.
pub(super) fn circles(tree: &Tree, folder: &str) -> Vec<Finding> {
    // For each folder's path: which of its modules name which, with the place where the first arrow is.
    let mut neighbours = BTreeMap::<Path, BTreeMap<(String, String), (String, usize)>>::new();
    let source = Source::read(tree, folder);
    for arrow in source.arrows() {
        let shared = arrow.from.iter().zip(&arrow.to).take_while(|(from, to)| from == to).count();
        let (Some(from), Some(to)) = (arrow.from.get(shared), arrow.to.get(shared)) else { continue };
        let ends = (from.clone(), to.clone());
        let place = || (arrow.file.to_owned(), arrow.line);
        neighbours.entry(arrow.from[..shared].to_vec()).or_default().entry(ends).or_insert_with(place);
    }
    let mut findings = Vec::new();
    for (parent, arrows) in neighbours {
        for circle in components(arrows.keys()) {
            let within = |name: &String| circle.contains(name);
            // Any arrow inside the circle is a place to begin.
            let Some(((_, _), (file, line))) =
                arrows.iter().find(|((from, to), _)| within(from) && within(to))
            else {
                continue;
            };
            let names: Vec<&str> = circle.iter().map(String::as_str).collect();
            let place = if parent.is_empty() { String::new() } else { format!(" of {}", parent.join("::")) };
            let text = format!("the modules {}{place} name each other in a circle", names.join(", "));
            findings.push(Finding::new(file, *line, text));
        }
    }
    findings
}

/// Returns the groups of two names or more of which each leads to each other.
fn components<'a>(arrows: impl Iterator<Item = &'a (String, String)> + Clone) -> Vec<BTreeSet<String>> {
    let reached = |start: &String| {
        let (mut reached, mut waiting) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(next) = waiting.pop() {
            for (_, to) in arrows.clone().filter(|(from, _)| *from == next) {
                if reached.insert(to.clone()) {
                    waiting.push(to.clone());
                }
            }
        }
        reached
    };
    let names: BTreeSet<&String> = arrows.clone().map(|(from, _)| from).collect();
    let reach: BTreeMap<&String, BTreeSet<String>> =
        names.into_iter().map(|name| (name, reached(name))).collect();
    let mut groups = Vec::<BTreeSet<String>>::new();
    for (&name, found) in &reach {
        if !found.contains(name) || groups.iter().any(|group| group.contains(name)) {
            continue;
        }
        let comes_back = |other: &&String| reach.get(*other).is_some_and(|back| back.contains(name));
        groups.push(found.iter().filter(comes_back).cloned().collect());
    }
    groups
}

/// The modules of one crate.
struct Source<'a> {
    /// Each module, with its file and the file's tokens.
    modules: BTreeMap<Path, (&'a str, Vec<Token<'a>>)>,
    /// Names that a module passes on, and where they come from.
    passed_on: BTreeMap<Path, BTreeMap<String, Path>>,
}

impl<'a> Source<'a> {
    fn read(tree: &'a Tree, folder: &'a str) -> Self {
        let mut modules = BTreeMap::new();
        for (file, text) in tree.below(folder).filter(|(file, _)| file.ends_with(".rs")) {
            let path = module(file.get(folder.len() + 1..).unwrap_or_default());
            if !path.iter().any(|part| part == "tests") {
                modules.insert(path, (file, tokens(text)));
            }
        }
        let mut source = Self { modules, passed_on: BTreeMap::new() };
        let mut passed_on = BTreeMap::<Path, BTreeMap<String, Path>>::new();
        for written in source.modules.iter().flat_map(|(module, (_, tokens))| paths(module, tokens)) {
            if let (true, Some(name)) = (written.is_passed_on, &written.name) {
                passed_on.entry(written.from).or_default().insert(name.clone(), written.to);
            }
        }
        source.passed_on = passed_on;
        source
    }

    /// Returns all paths from one module to another.
    fn arrows(&self) -> impl Iterator<Item = Arrow<'a>> {
        self.modules.iter().flat_map(move |(module, (file, tokens))| {
            // A module passes on names of the modules inside it as its own.
            let is_own = |arrow: &Arrow<'_>| arrow.to.starts_with(&arrow.from);
            let all = paths(module, tokens).into_iter().map(move |written| {
                let to = self.leads_to(written.to);
                (written.is_passed_on, Arrow { file, line: written.line, from: module.clone(), to })
            });
            all.filter(move |(is_passed_on, arrow)| !(*is_passed_on && is_own(arrow))).map(|(_, arrow)| arrow)
        })
    }

    /// Returns the module that a path leads to.
    fn leads_to(&self, mut path: Path) -> Path {
        // A name may be passed on several times; each step is looked at once.
        for _ in 0..8 {
            let depth =
                (0..=path.len()).rev().find(|&depth| self.modules.contains_key(&path[..depth])).unwrap_or(0);
            let next = path.get(depth).and_then(|name| self.passed_on.get(&path[..depth])?.get(name));
            match next {
                Some(origin) => path = origin.clone(),
                None => {
                    path.truncate(depth);
                    break;
                }
            }
        }
        path
    }
}

/// Returns the path of the module in the file `name`, which is relative to the crate's root.
fn module(name: &str) -> Path {
    let mut path: Path = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(path.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        path.pop();
    }
    path
}

/// A path as it is written.
struct Written {
    line: usize,
    /// The module where it is written.
    from: Path,
    /// From the crate's root.
    to: Path,
    /// Whether a `pub use` makes it a name of the module.
    is_passed_on: bool,
    /// That name.
    name: Option<String>,
}

/// Returns the paths in a file that begin with `crate`, `super` or `self`, and those that a `use` begins with a module
/// inside this one.
fn paths(module: &[String], tokens: &[Token<'_>]) -> Vec<Written> {
    let mut found = Vec::new();
    // Open braces, each with whether it is that of a module within the file.
    let mut inside = module.to_vec();
    let mut braces = Vec::new();
    let (mut is_use, mut is_public, mut at) = (false, false, 0);
    while let Some(token) = tokens.get(at) {
        let next = tokens.get(at + 1).map(|token| token.text);
        match token.text {
            "{" => {
                let before = at.checked_sub(2).and_then(|at| tokens.get(at)).map(|token| token.text);
                let is_module = before == Some("mod");
                if is_module {
                    inside.push(tokens[at - 1].text.to_owned());
                }
                braces.push(is_module);
            }
            "}" if braces.pop() == Some(true) => {
                inside.pop();
            }
            "use" => (is_use, is_public) = (true, follows_pub(tokens, at)),
            ";" => is_use = false,
            "crate" | "super" | "self" if next == Some("::") => {
                let start = found.len();
                at = tree_of(tokens, at, &inside, Vec::new(), &mut found);
                for written in &mut found[start..] {
                    written.is_passed_on = is_use && is_public && inside.len() == module.len();
                    written.from = module.to_vec();
                }
                continue;
            }
            // In a `pub use`, a name without a prefix is a module inside this one.
            _ if is_use && is_public && tokens[at.saturating_sub(1)].text == "use" && next == Some("::") => {
                let start = found.len();
                at = tree_of(tokens, at, &inside, inside.clone(), &mut found);
                for written in &mut found[start..] {
                    written.is_passed_on = inside.len() == module.len();
                    written.from = module.to_vec();
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Tells whether the token at `at` is behind `pub` or `pub(...)`.
fn follows_pub(tokens: &[Token<'_>], at: usize) -> bool {
    let mut before = tokens[..at].iter().rev().map(|token| token.text);
    match before.next() {
        Some(")") => before.find(|&text| text == "(").is_some() && before.next() == Some("pub"),
        other => other == Some("pub"),
    }
}

/// Reads a path with all its branches from `at` on, each behind `prefix`; returns where it ends.
fn tree_of(
    tokens: &[Token<'_>],
    mut at: usize,
    inside: &[String],
    mut prefix: Path,
    found: &mut Vec<Written>,
) -> usize {
    let line = tokens.get(at).map_or(0, |token| token.line);
    let mut is_first = true;
    let mut name = None;
    loop {
        match tokens.get(at).map(|token| token.text) {
            Some("{") => {
                at += 1;
                while let Some(token) = tokens.get(at).filter(|token| token.text != "}") {
                    // A sign that is part of no path is passed over.
                    let end = if token.text == "," {
                        at
                    } else {
                        tree_of(tokens, at, inside, prefix.clone(), found)
                    };
                    at = end.max(at + 1);
                }
                return at + 1;
            }
            Some("crate") if is_first => prefix.clear(),
            Some("super") if is_first => {
                prefix = inside.to_vec();
                prefix.pop();
            }
            Some("super") => {
                prefix.pop();
            }
            Some("self") if is_first && prefix.is_empty() => prefix = inside.to_vec(),
            Some("self" | "*") => {}
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                prefix.push(word.to_owned());
                name = Some(word.to_owned());
            }
            _ => break,
        }
        (is_first, at) = (false, at + 1);
        if tokens.get(at).map(|token| token.text) != Some("::") {
            break;
        }
        at += 1;
    }
    if tokens.get(at).map(|token| token.text) == Some("as") {
        name = tokens.get(at + 1).map(|token| token.text.to_owned());
        at += 2;
    }
    if !is_first {
        found.push(Written { line, from: Vec::new(), to: prefix, is_passed_on: false, name });
    }
    at
}
