//! Checks of the texts that people read: links and names in pages, the picture of the house, the words of pages and comments.
//!
//! | module | finds |
//! |---|---|
//! | [`links`] | a link to a file or heading that is not there; a name that its file or crate does not define |
//! | [`house`] | an arrow between crates that README's picture does not have, or has and should not |
//! | [`arrows`] | an arrow from a room of the kernel to one above it; a circle among the modules of a crate |
//! | [`words`] | words that the six rules of the project's English rule out |
//! | here | an unresolved merge; tests that are not in a file of their own; a fence that is not closed |
//!
//! All of it is text: no file is parsed as more than lines and words, so the check takes a moment and needs no build.

mod arrows;
mod house;
mod links;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A place where a page or a comment says what is not so, or says it in a word that is ruled out.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    file: String,
    line: usize,
    text: String,
}

impl Finding {
    fn new(file: &str, line: usize, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// The text files of the tree, by path from its root.
struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads pages, sources and manifests below `root`. Folders that hold no sources of ours are left out.
    fn read(root: &Path) -> Result<Self> {
        let mut tree = Self { files: BTreeMap::new() };
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(root.join(&folder))
                .with_context(|| format!("cannot read {}", folder.display()))?;
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str().filter(|name| !name.starts_with('.') && *name != "target")
                else {
                    continue;
                };
                let path = folder.join(name);
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if [".md", ".rs", ".toml", ".ld", ".ll", ".s", ".txt"]
                    .iter()
                    .any(|end| name.ends_with(end))
                {
                    let text = fs::read_to_string(root.join(&path))
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    tree.files.insert(path.to_string_lossy().into_owned(), text);
                } else if [".html", ".json", ".png", ".svg"].iter().any(|end| name.ends_with(end)) {
                    // Pages link to them. Machines write them, so that their words are not checked.
                    tree.files.insert(path.to_string_lossy().into_owned(), String::new());
                }
            }
        }
        Ok(tree)
    }

    /// Returns the files whose names end with `end`.
    fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files.iter().filter(move |(path, _)| path.ends_with(end)).map(|(path, text)| (&**path, &**text))
    }

    /// Tells whether `path` is a file that was read, or a folder of such files.
    fn has(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.below(path).next().is_some()
    }

    /// Returns the files below the folder `path`.
    fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let inside = move |file: &str| {
            file.strip_prefix(path).is_some_and(|rest| path.is_empty() || rest.starts_with('/'))
        };
        self.files.iter().filter(move |(file, _)| inside(file)).map(|(file, text)| (&**file, &**text))
    }
}

/// Prints every finding; returns whether there is none.
pub(crate) fn check(root: &Path) -> Result<bool> {
    let findings = findings(&Tree::read(root)?);
    findings.iter().for_each(|finding| println!("{finding}"));
    Ok(findings.is_empty())
}

/// Returns everything that the checks find, in the order of the files.
fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = links::findings(tree);
    findings.extend(unresolved(tree));
    findings.extend(tests_within(tree));
    findings.extend(open_fences(tree));
    findings.extend(house::findings(tree));
    findings.extend(arrows::findings(tree));
    findings.extend(words::findings(tree));
    findings.sort();
    findings
}

/// Beginnings of lines that an unresolved merge leaves.
const OF_A_MERGE: [&str; 2] = ["<<<<<<< ", ">>>>>>> "];

/// Returns the lines of unresolved merges.
fn unresolved(tree: &Tree) -> impl Iterator<Item = Finding> {
    tree.ending("").flat_map(|(file, text)| {
        let marks =
            text.lines().enumerate().filter(|(_, line)| OF_A_MERGE.iter().any(|mark| line.starts_with(mark)));
        marks.map(|(index, _)| Finding::new(file, index + 1, "an unresolved merge"))
    })
}

/// Files of tests beside the code that they test, and the folder of such files.
const OF_TESTS: [&str; 3] = ["tests", "tests.rs", "models.rs"];

/// Returns the first test of each file of code that has one.
fn tests_within(tree: &Tree) -> impl Iterator<Item = Finding> {
    let sources =
        tree.ending(".rs").filter(|(file, _)| !file.split('/').any(|part| OF_TESTS.contains(&part)));
    sources.filter_map(|(file, text)| {
        let tokens = tokens::tokens(text);
        let reads = |at: usize, signs: &[&str]| {
            tokens[at..].iter().map(|token| token.text).take(signs.len()).eq(signs.iter().copied())
        };
        let is_test = |at: &usize| reads(*at, &["#", "[", "test", "]"]) || reads(*at, &["mod", "tests", "{"]);
        let first = (0..tokens.len()).find(is_test)?;
        let why = "tests within a file: they belong into a tests.rs beside it (docs/adding.md)";
        Some(Finding::new(file, tokens[first].line, why))
    })
}

/// Returns the fences that are not closed: the rest of their page would not be looked at.
fn open_fences(tree: &Tree) -> impl Iterator<Item = Finding> {
    tree.ending(".md").filter_map(|(file, text)| {
        let fences: Vec<usize> =
            text.lines().enumerate().filter(|(_, line)| is_fence(line)).map(|(index, _)| index + 1).collect();
        let last = fences.last().filter(|_| fences.len() % 2 == 1)?;
        Some(Finding::new(file, *last, "a fence that is not closed"))
    })
}

/// Tells whether a fence of a page begins or ends in this line.
fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}

/// Returns the lines of a page that are prose: outside of fences, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if is_fence(line) {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

/// Splits a text into its words: runs of letters, digits and `_`.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}
