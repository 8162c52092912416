//! Joining made-up consoles with made-up reports.

use clap::Parser;

use super::super::across;
use super::{CSV_HEAD, Figures, Row, Summary, number};
use crate::cli::{Cli, Command, CountOptions};

const CONSOLE: &str = "\
region                  id   runs     least       ticks  writes  flushes  remote  interrupts
empty                    0      2        96         192       0        0       0           0
known/string             3      2      1184        2368       2        1       0           6
calls/8                 56  not measured: 8 CPUs are needed, 1 run
";

const REPORT: &str = "\
rhumb-count 1
region 0
sample 0 0 0 0 0 0 0 0 0
sample 0 0 0 0 0 0 0 0 0
region 3
sample 0 4 64 0 0 64 64 1 2
sample 0 4 60 0 0 60 60 1 2
place here 1000 8 124
end
";

fn options(words: &str) -> CountOptions {
    match Cli::try_parse_from(["xtask", "count"].into_iter().chain(words.split_whitespace())) {
        Ok(Cli { command: Command::Count(options) }) => options,
        other => panic!("{other:?}"),
    }
}

fn join(console: &str, report: &str, words: &str) -> anyhow::Result<Figures> {
    Figures::join(console, &report.parse().expect("a report"), &options(words), (1, 4))
}

#[test]
fn the_table_is_aligned_and_says_what_it_knows() {
    let figures = join(CONSOLE, REPORT, "known --mem").expect("they fit");
    assert_eq!(
        figures.table(&options("known --mem")),
        "region        instructions  spread  code lines  data lines  reads  writes  table writes  flushes  remote  interrupts\n\
         known/string        4 + 62  64..68           1           2     62      62             1     0.50       0           3\n"
    );
}

#[test]
fn the_csv_has_the_agreed_columns() {
    let csv = join(CONSOLE, REPORT, "known").expect("they fit").csv(&options("known"));
    assert!(!csv.contains("reads"), "memory was not watched");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(CSV_HEAD.trim_end().split(',').count(), lines[0].split(',').count());
    assert_eq!(lines[0], "known/string,1,rhumb,instructions,instructions,4.000,4.000,4.000");
    assert_eq!(lines[1], "known/string,1,rhumb,string_iterations,iterations,62.000,60.000,64.000");
    assert!(lines.contains(&"known/string,1,rhumb,table_writes,writes,1.000,1.000,1.000"));
}

#[test]
fn several_runs_make_one_table() {
    let run = |console: &str, cpus| {
        let report = REPORT.parse().expect("a report");
        Figures::join(console, &report, &options("known --busy"), (cpus, 4)).expect("they fit")
    };
    let without = CONSOLE.replace("known/string             3      2      1184", "none");
    let runs = [run(&without, 1), run(CONSOLE, 2)];
    assert_eq!(
        across::table(&runs),
        "region                           1 CPU    2 CPUs\n\
         known/string/busy  instructions      -  4 + 62 ~\n\
         \u{20}                  table writes      -         1\n\
         \u{20}                       flushes      -      0.50\n\
         \u{20}                    interrupts      -         3\n"
    );
}

#[test]
fn numbers_of_cpus() {
    let counts = |text: &str| options(&format!("known --cpus {text}")).cpus.iter().collect::<Vec<_>>();
    assert_eq!(counts("3"), [3]);
    assert_eq!(counts("1,2,8"), [1, 2, 8]);
    assert_eq!(counts("1-4,8"), [1, 2, 3, 4, 8]);
    for text in ["", "0", "256", "4,2", "3-1", "1-", "a", "1,1"] {
        assert!(text.parse::<crate::cli::CpuCounts>().is_err(), "{text}");
    }
    assert_eq!(counts("255"), [255]);
    let refusal = "1,256".parse::<crate::cli::CpuCounts>().unwrap_err();
    assert!(refusal.contains("256 CPUs cannot be counted: more than 255 need x2APICs"), "{refusal}");
}

/// 2,368 ticks less twice 96 are 136 instructions at 16 ticks: the four and the iterations of both runs, and four too
/// many.
#[test]
fn a_clock_that_disagrees_is_told() {
    let notes = |console: &str| join(console, REPORT, "known").expect("they fit").notes().to_vec();
    let disagreeing = notes(CONSOLE);
    assert!(
        disagreeing.iter().any(|note| note.starts_with("known/string: 132 by the plugin, 136 by the clock"))
    );
    assert!(disagreeing.contains(&"not measured: calls/8 (8 CPUs are needed, 1 run)".to_string()));
    assert_eq!(notes(&CONSOLE.replace("2368", "2304")).len(), 1);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let complaint = |console: &str| join(console, REPORT, "known").err().expect("an error").to_string();
    assert!(complaint("").contains("measured nothing"));
    assert!(complaint(&CONSOLE.replace("   3      2", "   3      3")).contains("the plugin saw 2"));
    assert!(complaint(&CONSOLE.replace("   3      2", "   4      2")).contains("no marks of known/string"));
}

#[test]
fn rows_are_told_from_other_lines() {
    assert!(Row::parse("empty  0  2  96  192  0  0  0  0").is_some());
    for line in
        ["", "region id runs least ticks writes flushes remote interrupts", "empty 0 2 96 192 0 0 0", "a b"]
    {
        assert_eq!(Row::parse(line), None, "{line}");
    }
}

#[test]
fn medians_and_numbers() {
    assert_eq!(Summary::of(vec![3, 1, 2]), Summary { median: 2.0, low: 1.0, high: 3.0 });
    assert_eq!(Summary::of(vec![4, 1, 2, 3]).median, 2.5);
    assert_eq!(Summary::of(Vec::new()).median, 0.0);
    assert_eq!([0.0, 999.0, 1000.0, 1234567.0, 0.5].map(number), ["0", "999", "1,000", "1,234,567", "0.50"]);
}
