//! The tree's pages are right, and each check finds the fault that it is for.

use super::tokens::tokens;
use super::{Tree, arrows, findings, house, links, words};
use crate::paths;

fn tree(files: &[(&str, &str)]) -> Tree {
    Tree { files: files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect() }
}

/// Returns what a check says of these files.
fn said(check: impl Fn(&Tree) -> Vec<super::Finding>, files: &[(&str, &str)]) -> Vec<String> {
    check(&tree(files)).iter().map(ToString::to_string).collect()
}

#[test]
fn the_tree_says_what_is_so() {
    let findings = findings(&Tree::read(&paths::root()).expect("a readable tree"));
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn an_unresolved_merge_is_found() {
    let text = format!("one\n{} main\ntwo\n{} side\n", "<".repeat(7), ">".repeat(7));
    let found = said(findings, &[("a.toml", text.as_str())]);
    assert_eq!(found, ["a.toml:2: an unresolved merge", "a.toml:4: an unresolved merge"]);
}

#[test]
fn tests_within_a_file_are_found() {
    let files = [
        ("a/src/b.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n"),
        ("a/src/c.rs", "#[cfg(test)]\nmod tests;\n// #[test]\nconst A: &str = \"#[test]\";\n"),
        ("a/src/d.rs", "mod inner {\n    #[test]\n    fn works() {}\n}\n"),
        ("a/src/e.rs", "mod inner {\n    mod tests {\n    }\n}\n"),
        ("a/src/d/tests.rs", "#[test]\nfn works() {}\n"),
        ("a/tests/d.rs", "#[test]\nfn works() {}\n"),
    ];
    let why = "tests within a file: they belong into a tests.rs beside it (docs/adding.md)";
    assert_eq!(
        said(findings, &files),
        ["a/src/b.rs:3", "a/src/d.rs:2", "a/src/e.rs:2"].map(|place| format!("{place}: {why}"))
    );
}

#[test]
fn a_fence_that_is_not_closed_is_found() {
    let pages = [("a.md", "```\na\n```\nb\n  ```rust\nc\n"), ("b.md", "```\na\n```\n")];
    assert_eq!(said(findings, &pages), ["a.md:5: a fence that is not closed"]);
}

#[test]
fn a_link_to_a_missing_file_or_heading_is_found() {
    let page = "[a](b.md) [a](../c.rs)\n[a](b.md#the-end) [a](b.md#no-end)\n```\n[not](looked/at)\n```\n[out](https://example.org)\n";
    let files = [("docs/a.md", page), ("docs/b.md", "## The end\n")];
    assert_eq!(
        said(links::findings, &files),
        ["docs/a.md:1: no such file: c.rs", "docs/a.md:2: no heading #no-end in docs/b.md"]
    );
}

#[test]
fn a_name_that_its_file_does_not_have_is_found() {
    let page = "[`split`](src/tree.rs) [`cut`](src/tree.rs)\n`Tree::cut` in [`tree.rs`](src/tree.rs)\n`cut` in\n  [it](src/tree.rs)\n";
    let files = [("a.md", page), ("src/tree.rs", "impl Tree {\n    fn split() {}\n}\n")];
    assert_eq!(
        said(links::findings, &files),
        ["a.md:1: no cut in src/tree.rs", "a.md:2: no cut in src/tree.rs", "a.md:4: no cut in src/tree.rs"]
    );
}

#[test]
fn a_name_that_no_crate_defines_is_found() {
    let files = [
        ("c/Cargo.toml", "name = \"rhumb-c\"\n"),
        ("c/src/lib.rs", "pub enum Zone {\n    Normal,\n}\n// struct Depot;\n#[test]\nfn it_works() {}\n"),
        ("page.md", "`rhumb_c::Zone::Normal` `rhumb_c::Depot` `rhumb_d::X`\n"),
    ];
    assert_eq!(
        said(links::findings, &files),
        ["page.md:1: rhumb_c defines no Depot", "page.md:1: no crate rhumb_d"]
    );
}

#[test]
fn a_test_that_is_not_where_its_name_says_is_found() {
    let tests = "mod inner {\n    #[test]\n    fn it_works() {}\n}\n";
    let files = [
        ("c/Cargo.toml", "name = \"rhumb-c-d\"\n"),
        ("c/src/lib.rs", "fn in_the_root() {}\n"),
        ("c/src/a/mod.rs", "fn in_a() {}\n"),
        ("c/src/a/tests.rs", tests),
        ("c/src/tests/models.rs", "fn modelled() {}\n"),
        ("c/tests/whole.rs", "fn alone() {}\n"),
        ("c/tests/parts/main.rs", "mod one;\n"),
        ("c/tests/parts/one.rs", "fn in_one() {}\n"),
        ("k/src/selftest.rs", "    Test { name: \"a::it_passes\", run: it_passes },\nfn it_hides() {}\n"),
    ];
    let of = |span: &str| {
        let page = format!("`{span}`\n");
        let mut all = vec![("page.md", page.as_str())];
        all.extend(files);
        said(links::findings, &all)
    };
    for span in [
        "host/c_d::in_the_root",
        "host/c_d::a::in_a",
        "host/c_d-checked::a::tests::inner::it_works",
        "host/c_d-loom::models::modelled",
        "host/whole::alone",
        "host/parts::one::in_one",
        "host/PACKAGE::PATH",
        "host/c_d::(process)",
        "selftest a::it_passes",
        "selftest a::",
    ] {
        assert_eq!(of(span), [""; 0], "{span}");
    }
    for span in [
        "host/c::in_the_root",
        "host/c_d::in_a",
        "host/c_d::a::tests::it_fails",
        "host/c_d::a::tests::it_works::it_works",
        "host/c_d::a::tests::outer::it_works",
        "host/whole::in_one",
        "host/parts::in_one",
        "selftest a::it_hides",
        "selftest b::it_passes",
        "selftest b::",
    ] {
        assert_eq!(of(span), [format!("page.md:1: no test {span}")]);
    }
}

const MANIFESTS: [(&str, &str); 3] = [
    ("b/Cargo.toml", "name = \"rhumb-b\"\n[dependencies]\n"),
    (
        "k/Cargo.toml",
        "name = \"rhumb-k\"\n[dependencies]\nrhumb-b.workspace = true\n[dev-dependencies]\nrhumb-x = \"1\"\n",
    ),
    ("t/fuzz/Cargo.toml", "name = \"rhumb-fuzz\"\n[workspace]\n"),
];

/// Returns what the check says of a picture with these lines.
fn picture(lines: &str) -> Vec<String> {
    let page = format!("# A\n\n## The house\n\n```\n title\n{lines}```\n");
    let mut files = vec![("README.md", page.as_str())];
    files.extend(MANIFESTS);
    said(house::findings, &files)
}

#[test]
fn a_wrong_arrow_in_the_picture_is_found() {
    assert_eq!(picture("   k ──> b\n   b ──> nothing\n"), [""; 0]);
    assert_eq!(picture("   k ──>\n          b\n   b ──> nothing\n"), [""; 0]);
    assert_eq!(picture("   b ──> nothing\n   k ──> b\n"), ["README.md:8: the arrow from k to b goes up"]);
    assert_eq!(
        picture("   k ──> nothing\n   b ──> nothing\n"),
        ["README.md:7: k uses b, which the picture does not show"]
    );
    assert_eq!(
        picture("   k ──> b x\n   b ──> nothing\n"),
        ["README.md:7: the picture shows that k uses x, which it does not"]
    );
    assert_eq!(picture("   k ──> b\n"), ["README.md:3: the picture of the house does not have b"]);
    assert_eq!(
        picture("   k ──> b\n   b ──> nothing\n   c ──> nothing\n"),
        ["README.md:9: the picture has c, which is no package"]
    );
}

#[test]
fn a_crate_that_is_drawn_twice_and_a_picture_that_is_missing_are_found() {
    assert_eq!(
        picture("   k ──> b\n   k ──> b\n   b ──> nothing\n"),
        ["README.md:8: the picture has k twice"]
    );
    assert_eq!(
        picture("          b\n   k ──> b\n   b ──> nothing\n"),
        ["README.md:7: a line that continues no other"]
    );
    let missing = ["README.md:1: no picture of the house under the heading `## The house`"];
    assert_eq!(said(house::findings, &MANIFESTS), missing);
    let untitled = [MANIFESTS[0], ("README.md", "```\n   b ──> nothing\n```\n")];
    assert_eq!(said(house::findings, &untitled), missing);
}

#[test]
fn a_dependency_in_any_table_but_that_of_tests_is_found() {
    let page = "## The house\n```\n   k ──> nothing\n   b ──> nothing\n```\n";
    let of = |tables: &str| {
        let toml = format!("name = \"rhumb-k\"\n{tables}");
        let shared = "[workspace.dependencies]\nbase = { package = \"rhumb-b\", path = \"b\" }\n";
        let files = [("README.md", page), ("Cargo.toml", shared), MANIFESTS[0], ("k/Cargo.toml", &toml)];
        said(house::findings, &files)
    };
    for tables in [
        "[dependencies]\nrhumb-b = { path = \"../b\" }\n",
        "[build-dependencies]\nrhumb-b.workspace = true\n",
        "[target.'cfg(not(loom))'.dependencies]\nrhumb-b.workspace = true\n",
        "[dependencies.rhumb-b]\nworkspace = true\n",
        "[target.x86_64-unknown-none.build-dependencies.rhumb-b]\nworkspace = true\n",
        "[dependencies]\nlow = { path = \"../b\", package = \"rhumb-b\" }\n",
        "[dependencies.low]\npath = \"../b\"\npackage=\"rhumb-b\"\n",
        "[dependencies]\nbase.workspace = true\n",
        "[dependencies.base]\nworkspace = true\n",
    ] {
        assert_eq!(of(tables), ["README.md:3: k uses b, which the picture does not show"], "{tables}");
    }
    for tables in [
        "[dev-dependencies]\nrhumb-b.workspace = true\n",
        "[target.'cfg(loom)'.dev-dependencies.rhumb-b]\nworkspace = true\n",
        "[features]\nrhumb-b = []\n",
    ] {
        assert_eq!(of(tables), [""; 0], "{tables}");
    }
}

#[test]
fn a_long_line_is_found() {
    let page = format!("{0}\n|{0}|\n```\n{0}\n```\n{1}\n", "\u{e4} ".repeat(61), "\u{e4} ".repeat(60));
    let lines = said(words::findings, &[("p.md", page.as_str())]);
    assert_eq!(lines, ["p.md:1: a line of 122 characters, which are 120 at most"]);
}

#[test]
fn a_word_that_is_ruled_out_is_found() {
    let source = "//! What a CPU keeps.\nlet stand = 1; // where it stands\n/// Understands what `whoever` stands for,\n/// What begins a line\n/// what goes on. What is a page? What is it: a\n/// frame. Who knows.\n// It ends.\n// What it is lies here.\n";
    let files = [
        ("s.rs", source),
        ("p.md", "```\nnobody\n```\nNobody waits for ever.\n\nWhat is free\nWho knows\n## What it is\n"),
    ];
    let lines = said(words::findings, &files);
    let places: Vec<&str> =
        lines.iter().map(|line| line.split_once(": ").map_or("", |(place, _)| place)).collect();
    // A question may open with either word, and so may a line in the middle of a sentence.
    assert_eq!(
        places,
        ["s.rs:1", "s.rs:2", "s.rs:5", "s.rs:6", "s.rs:8", "p.md:4", "p.md:4", "p.md:6"],
        "{lines:#?}"
    );
}

#[test]
fn a_comment_of_any_kind_is_searched() {
    let source =
        "let a = \"whom\";//whom\n/* one\n * whom */ let b = '\"'; /* whom */\nlet c = \"// whom\";\n";
    let manifest = "# whom\na = \"# whom\" # whom\n[target.'cfg(whom)']\n";
    let files = [("s.rs", source), ("link.ld", "/* whom */ SECTIONS {}\n"), ("a/Cargo.toml", manifest)];
    let lines = said(words::findings, &files);
    let places: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_suffix(": `whom`: name the actor")).collect();
    assert_eq!(
        places,
        ["s.rs:1", "s.rs:3", "s.rs:3", "link.ld:1", "a/Cargo.toml:1", "a/Cargo.toml:2"],
        "{lines:#?}"
    );
}

const ROOMS: &str = "//! | room | owns |\n//! |---|---|\n//! | `main` | all |\n//! | [`debug`] | x |\n//! | [`mm`] | y |\n//! | [`cpu`] | z |\n";

fn said_of_rooms(files: &[(&str, &str)]) -> Vec<String> {
    let mut all = vec![("kernel/src/main.rs", ROOMS)];
    all.extend(files);
    said(arrows::findings, &all)
}

#[test]
fn an_arrow_to_a_room_above_is_found() {
    let down = "use crate::cpu::lock;\nuse crate::{cpu, mm};\nuse super::frames;\n";
    let below = [
        ("kernel/src/mm/mod.rs", "pub use tables::Tables;\npub use crate::cpu::Cpu;\n"),
        ("kernel/src/mm/tables.rs", down),
        ("kernel/src/cpu/mod.rs", ""),
    ];
    assert_eq!(said_of_rooms(&below), [""; 0]);
    let up = "use rhumb_machine::Pfn;\n\nuse crate::{\n    cpu::lock,\n    mm::{frames, tables},\n};\n";
    let by_path =
        "fn f() {\n    // crate::debug\n    let x = \"crate::debug\";\n    crate::debug::stop();\n}\n";
    let by_super = "mod inner {\n    use super::super::super::debug::Kernel;\n}\n";
    let files = [
        ("kernel/src/cpu/start.rs", up),
        ("kernel/src/mm/frames.rs", by_path),
        ("kernel/src/mm/tables.rs", by_super),
        ("kernel/src/mm/mod.rs", "pub struct A {\n    pub x: u32,\n}\nuse crate::debug::Kernel;\n"),
        ("kernel/src/cpu/mod.rs", "pub(crate) use crate::debug::Kernel;\nuse super::begin;\n"),
        ("kernel/src/debug/mod.rs", "use crate::{#, cpu};\n"),
    ];
    assert_eq!(
        said_of_rooms(&files),
        [
            "kernel/src/cpu/mod.rs:1: the arrow from cpu to debug goes up",
            "kernel/src/cpu/mod.rs:2: the arrow from cpu to main goes up",
            "kernel/src/cpu/start.rs:5: the arrow from cpu to mm::frames goes up",
            "kernel/src/cpu/start.rs:5: the arrow from cpu to mm::tables goes up",
            "kernel/src/mm/mod.rs:4: the arrow from mm to debug goes up",
            "kernel/src/mm/frames.rs:4: the arrow from mm to debug goes up",
            "kernel/src/mm/tables.rs:2: the arrow from mm to debug goes up",
        ]
    );
}

#[test]
fn a_room_that_the_table_does_not_have_is_found() {
    let listed = said_of_rooms(&[("kernel/src/attic.rs", "")]);
    assert_eq!(listed, ["kernel/src/main.rs:1: the table of rooms does not have attic"]);
    let said = said(arrows::findings, &[("kernel/src/attic.rs", "")]);
    assert_eq!(said, ["kernel/src/attic.rs:1: kernel/src/main.rs, whose head lists the rooms, is missing"]);
}

fn circles(files: &[(&str, &str)]) -> Vec<String> {
    said(|tree| arrows::circles(tree, "c/src"), files)
}

#[test]
fn a_circle_of_modules_is_found() {
    let files = [
        ("c/src/lib.rs", "pub mod a;\npub use b::B;\nuse a::A;\n"),
        ("c/src/a.rs", "use crate::B;\n#[cfg(test)]\nmod tests;\n"),
        ("c/src/a/tests.rs", "use crate::d::D;\n"),
        ("c/src/b.rs", "use super::d;\n"),
        ("c/src/d.rs", "fn f() -> crate::a::A {}\n"),
        ("c/src/e.rs", "use crate::a;\n"),
    ];
    assert_eq!(circles(&files), ["c/src/a.rs:1: the modules a, b, d name each other in a circle"]);
    assert_eq!(circles(&files[..4]), [""; 0]);
    let passed_on = [
        ("c/src/lib.rs", ""),
        ("c/src/a.rs", "pub use crate::b::B;\n"),
        ("c/src/b.rs", "use crate::a::X;\n"),
    ];
    assert_eq!(circles(&passed_on), ["c/src/a.rs:1: the modules a, b name each other in a circle"]);
    // Each crate is looked at, but for those on the list, which must have one.
    let all = |folder: &str, text| {
        said(
            arrows::findings,
            &[(&format!("{folder}/Cargo.toml"), ""), (&format!("{folder}/src/a.rs"), text)],
        )
    };
    assert_eq!(all("crates/parts/new", "use crate::a;\n"), [""; 0]);
    assert_eq!(
        all("tools/bench/ostd", ""),
        ["tools/bench/ostd/src:1: no circle is left: take it off the list"]
    );
}

#[test]
fn folders_are_compared_with_folders() {
    let between = [
        ("c/src/lib.rs", ""),
        ("c/src/pool/mod.rs", "pub use take::Take;\n"),
        ("c/src/pool/take.rs", "use super::give::Give;\nuse super::Pool;\n"),
        ("c/src/pool/give.rs", "use crate::node::Node;\n"),
        ("c/src/node.rs", "use crate::pool::Take;\n"),
    ];
    assert_eq!(circles(&between), ["c/src/node.rs:1: the modules node, pool name each other in a circle"]);
    let within = [
        ("c/src/pool/mod.rs", ""),
        ("c/src/pool/take.rs", "use super::give::Give;\n"),
        ("c/src/pool/give.rs", "use super::take::Take;\n"),
    ];
    assert_eq!(
        circles(&within),
        ["c/src/pool/give.rs:1: the modules give, take of pool name each other in a circle"]
    );
}

#[test]
fn tokens_have_no_comments_strings_or_characters() {
    let text = "a::b /* c */ // d\n'e' '\\'' \"f\\\"g\" r#\"h\"i\"# b'j' &'k l";
    let words: Vec<(usize, &str)> = tokens(text).iter().map(|token| (token.line, token.text)).collect();
    assert_eq!(words, [(1, "a"), (1, "::"), (1, "b"), (2, "&"), (2, "'"), (2, "k"), (2, "l")]);
}
