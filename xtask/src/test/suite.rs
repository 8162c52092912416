//! [`Suite`]: tests that cargo runs together, and their names here.

/// A set of tests that cargo runs together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Suite {
    /// Unit tests of a library, by the name of its binary.
    Library(String),
    /// Unit tests of a program, by its name.
    Program(String),
    /// An integration test.
    Integration(String),
    /// Examples in a package's documentation.
    Doc(String),
}

impl Suite {
    /// Returns the suite that a line of cargo's announces.
    pub(super) fn announced(line: &str) -> Option<Self> {
        let line = line.trim_start();
        if let Some(package) = line.strip_prefix("Doc-tests ") {
            return Some(Self::Doc(package.into()));
        }
        // `Running unittests src/lib.rs (target/debug/deps/rhumb_machine-0123456789abcdef)`
        let (kind, binary) = line.strip_prefix("Running ")?.strip_suffix(')')?.split_once(" (")?;
        let stem = binary.rsplit('/').next()?.rsplit_once('-')?.0.to_string();
        Some(match kind.strip_prefix("unittests ") {
            Some(file) if file.ends_with("lib.rs") => Self::Library(stem),
            Some(_) => Self::Program(stem),
            None => Self::Integration(stem),
        })
    }

    /// Returns the full name of the suite's test `path` in the build with this word.
    pub(super) fn full_name(&self, word: &str, path: &str) -> String {
        let (Self::Library(name) | Self::Program(name) | Self::Integration(name) | Self::Doc(name)) = self;
        let short = name.trim_start_matches("rhumb_");
        let hyphen = if word.is_empty() { "" } else { "-" };
        let doc = if let Self::Doc(_) = self { "doc::" } else { "" };
        format!("host/{short}{hyphen}{word}::{doc}{path}")
    }

    /// Cargo's arguments for this suite alone.
    pub(super) fn arguments(&self) -> Vec<String> {
        let package = |name: &str| name.replace('_', "-");
        match self {
            Self::Library(name) => vec!["--package".into(), package(name), "--lib".into()],
            // Cargo's announcement has underscores where the program's own name may have hyphens.
            Self::Program(name) => vec!["--package".into(), package(name), "--bins".into()],
            Self::Integration(name) => vec!["--test".into(), name.clone()],
            Self::Doc(name) => vec!["--package".into(), package(name), "--doc".into()],
        }
    }
}

#[cfg(test)]
mod tests;
