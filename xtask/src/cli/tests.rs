//! The command line as clap sees it.

use clap::{CommandFactory, Parser};

use super::{Cli, Command};

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_benchmark_gets_all_options_that_follow_its_name() {
    for family in ["frames", "slab", "ranges", "directmap", "scale"] {
        for options in
            [&["--help"][..], &["-h"], &["--quick", "--help"], &["--cpus", "1,2", "--only", "pair"], &[]]
        {
            let line = [&["xtask", "bench", family], options].concat();
            let Command::Bench(bench) = Cli::try_parse_from(line).unwrap().command else {
                panic!("no bench")
            };
            let (name, arguments) = bench.family.name_and_arguments();
            assert_eq!(
                (name, arguments),
                (family, &options.iter().map(|&word| word.into()).collect::<Vec<_>>()[..])
            );
        }
    }
}
