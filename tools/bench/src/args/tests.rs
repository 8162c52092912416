//! Command lines, right and wrong.

use super::*;

fn parse(line: &str) -> Result<Option<Options>, ArgsError> {
    Options::parse(lexopt::Parser::from_args(line.split_whitespace()))
}

#[test]
fn the_whole_line_is_understood() {
    let options =
        parse("frames --csv a.csv --only pair/rhumb --only /linux --rounds 2 --cpus 1,4 --mem 64m,1t")
            .unwrap();
    let options = options.unwrap();
    assert_eq!(options.csv, Some("a.csv".into()));
    assert_eq!((options.rounds, options.cpus.as_slice()), (2, [1, 4].as_slice()));
    assert_eq!(options.mem_bytes, [64 << 20, 1 << 40]);
    assert!(options.wants("pair-order-0", "rhumb"));
    assert!(!options.names_exactly("pair", "rhumb"));
    let one = parse("slab-case --only pair-64/rhumb").unwrap().unwrap();
    assert!(one.names_exactly("pair-64", "rhumb") && !one.names_exactly("pair-64", "rhumb-global"));
    assert!(options.wants("bulk", "linux-model"));
    assert!(!options.wants("bulk", "rhumb"));
    assert!(parse("frames").unwrap().unwrap().wants("anything", "anybody"));
    assert!(parse("frames --help").unwrap().is_none());
    assert_eq!(parse("frames --quick").unwrap().unwrap().rounds, 3);
    assert_eq!(parse("slab").unwrap().unwrap().pages_word(), "large");
    assert_eq!(parse("frames").unwrap().unwrap().pages_word(), "host");
    for (word, pages) in PAGES {
        let options = parse(&format!("slab --pages {word}")).unwrap().unwrap();
        assert_eq!((options.pages(), options.pages_word()), (pages, word));
    }
}

#[test]
fn mistakes_are_named() {
    for (line, said) in [
        ("", "no command"),
        ("slabs", "unknown command slabs"),
        ("frames --rounds 0", "--rounds: \"0\""),
        ("frames --cpus 1,x", "--cpus: \"x\""),
        ("frames --mem 1k", "--mem: \"1k\""),
        ("frames --mem 1m", "--mem: \"1m\""),
        ("frames --mem \u{20ac}", "--mem: \"\u{20ac}\""),
        ("frames --mem 99999999999999t", "--mem"),
        ("slab --pages huge", "--pages: \"huge\" is none of large, small, host"),
        ("frames --wrong", "--wrong"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(said), "{line}: {error}");
    }
}
