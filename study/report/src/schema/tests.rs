//! The page of the schema is made of the types' own comments, so that the two cannot differ.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use syn::{Attribute, Expr, ExprLit, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

use super::*;
use crate::samples::{hosted, linux};

/// The types of the page, in its order.
const TYPES: [&str; 24] = [
    "Study",
    "Kind",
    "Ending",
    "Omission",
    "Machine",
    "Tlb",
    "TlbKind",
    "Noise",
    "Control",
    "ControlKind",
    "Comparison",
    "Effect",
    "Interval",
    "Stopped",
    "Curve",
    "Series",
    "Point",
    "Bars",
    "Bar",
    "MemoryMap",
    "Extent",
    "Table",
    "Column",
    "Cell",
];

/// The sources that define them.
const SOURCES: [&str; 7] = [
    "src/schema/mod.rs",
    "src/schema/machine.rs",
    "src/schema/comparison.rs",
    "src/schema/figures.rs",
    "../method/src/effect.rs",
    "../method/src/summary.rs",
    "../method/src/trial.rs",
];

const HEAD: &str = "# The schema of study.json

A study is one JSON object, a `Study`, of version 1. Times are seconds or nanoseconds, sizes are bytes, effects are
ratios, as the names of the fields say. A number that is not finite is `null`.

A reader must accept fields that it does not know: a new field does not change the version. A field whose meaning
changes, or that goes, does. The names in `id` fields are the same on every machine and in every version.

This page is made of the comments on the types in `src/schema`, and a test compares the two. After a change there:
`RHUMB_WRITE_SCHEMA=1 cargo test -p rhumb-study-report schema`.
";

/// Returns the sentences of a comment, on one line.
fn comment(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    };
    let lines: Vec<String> = attributes.iter().filter_map(line).collect();
    let text = lines.split(String::is_empty).next().unwrap_or_default().join(" ");
    // Links to code lead nowhere on a page: their names stay.
    let mut plain = String::new();
    let mut rest = &*text;
    while let Some((before, after)) = rest.split_once("[`") {
        let (name, after) = after.split_once("`]").expect("a link ends");
        plain += &format!("{before}`{name}`");
        rest = match after.strip_prefix('(') {
            Some(target) => target.split_once("())").or(target.split_once(')')).expect("a target ends").1,
            None => after,
        };
    }
    (plain + rest).replace('|', "\\|").replace("`None`", "`null`").replace("`SCHEMA`", "\"rhumb-study\"")
}

/// Returns the name that a value of an enumeration has in the file.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(c.to_lowercase());
    }
    kebab
}

/// Returns the words for a type.
fn words(of: &Type) -> String {
    let path = match of {
        Type::Path(path) => path.path.segments.last().expect("a path has a name"),
        Type::Array(array) => return format!("list of {}", words(&array.elem)),
        Type::Tuple(tuple) if tuple.elems.is_empty() => return "null".to_owned(),
        _ => panic!("the page has no words for this type"),
    };
    let inner = || match &path.arguments {
        PathArguments::AngleBracketed(list) => match list.args.first() {
            Some(GenericArgument::Type(inner)) => words(inner),
            _ => panic!("an argument that is no type"),
        },
        _ => panic!("no argument"),
    };
    match &*path.ident.to_string() {
        "String" => "text".to_owned(),
        "f64" => "number".to_owned(),
        "u32" | "u64" => "whole number".to_owned(),
        "bool" => "true or false".to_owned(),
        "Vec" => format!("list of {}", inner()),
        "Option" => format!("{}, or null", inner()),
        "BTreeMap" => "object of texts".to_owned(),
        name => format!("[{name}](#{})", name.to_lowercase()),
    }
}

/// Returns the section of a type.
fn section(item: &Item) -> String {
    let mut text = String::new();
    let (name, about) = match item {
        Item::Struct(item) => (item.ident.to_string(), comment(&item.attrs)),
        Item::Enum(item) => (item.ident.to_string(), comment(&item.attrs)),
        _ => panic!("neither a structure nor an enumeration"),
    };
    _ = writeln!(text, "\n## {name}\n\n{}\n", textwrap::fill(&about, 118));
    match item {
        Item::Struct(item) => {
            text += "| field | type | meaning |\n|---|---|---|\n";
            for field in &item.fields {
                let name = field.ident.as_ref().expect("fields have names");
                _ = writeln!(text, "| `{name}` | {} | {} |", words(&field.ty), comment(&field.attrs));
            }
        }
        Item::Enum(item) => {
            text += "| value | meaning |\n|---|---|\n";
            let is_untagged = item.attrs.iter().any(|attribute| {
                matches!(&attribute.meta, Meta::List(list) if list.tokens.to_string().contains("untagged"))
            });
            for variant in &item.variants {
                let name = kebab(&variant.ident.to_string());
                let value = match &variant.fields {
                    Fields::Unit => format!("`\"{name}\"`"),
                    Fields::Unnamed(fields) if is_untagged => words(&fields.unnamed[0].ty),
                    Fields::Unnamed(fields) => {
                        format!("object: `\"{name}\"` with {}", words(&fields.unnamed[0].ty))
                    }
                    Fields::Named(_) => panic!("the page has no words for this variant"),
                };
                _ = writeln!(text, "| {value} | {} |", comment(&variant.attrs));
            }
        }
        _ => {}
    }
    text
}

#[test]
fn the_page_says_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    for source in SOURCES {
        let file = syn::parse_file(&fs::read_to_string(folder.join(source)).unwrap()).unwrap();
        for item in &file.items {
            let name = match item {
                Item::Struct(item) => item.ident.to_string(),
                Item::Enum(item) => item.ident.to_string(),
                _ => continue,
            };
            if TYPES.contains(&&*name) {
                sections.insert(name, section(item));
            }
        }
    }
    let page = HEAD.to_owned() + &TYPES.map(|name| sections[name].clone()).concat();
    let path = folder.join("SCHEMA.md");
    if std::env::var_os("RHUMB_WRITE_SCHEMA").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(
        written == page,
        "SCHEMA.md is out of step: RHUMB_WRITE_SCHEMA=1 cargo test -p rhumb-study-report schema"
    );
    assert!(HEAD.contains(&format!("of version {VERSION}.")));
    // A type that is linked has its section.
    for link in page.split("](#").skip(1) {
        let target = link.split(')').next().unwrap();
        assert!(page.to_lowercase().contains(&format!("\n## {target}\n")), "{target}");
    }
}

#[test]
fn each_written_field_is_on_the_page() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("SCHEMA.md")).unwrap();
    let free = ["conditions", "mitigations", "settings"];
    let mut todo = vec![serde_json::to_value(hosted()).unwrap(), serde_json::to_value(linux()).unwrap()];
    while let Some(value) = todo.pop() {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    assert!(page.contains(&format!("| `{name}` |")), "{name}");
                    if !free.contains(&&*name) {
                        todo.push(value);
                    }
                }
            }
            serde_json::Value::Array(values) => todo.extend(values),
            _ => {}
        }
    }
}

#[test]
fn sums_by_page_are_in_order_and_without_nothing() {
    let extent = |bytes, page_bytes| Extent { start: None, bytes, page_bytes };
    let extents = vec![
        extent(5, None),
        extent(1, Some(4096)),
        extent(0, Some(1 << 30)),
        extent(2, Some(1 << 21)),
        extent(3, Some(4096)),
    ];
    let map = MemoryMap { moment: "now".into(), extents, source: String::new() };
    assert_eq!(map.by_page(), [(Some(4096), 4), (Some(1 << 21), 2), (None, 5)]);
}
