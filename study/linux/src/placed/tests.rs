//! Pages of known files, whose places are given, or asked of the kernel where it tells them.

use std::fs;

use super::*;
use crate::proc::counters::{DirectMap, GIB_1, Splits};

#[test]
fn blocks_that_others_broke_are_counted_and_refused() {
    let map = DirectMap { small: Some(110 * MIB_2), mib_2: Some(890 * MIB_2), mib_4: None, gib_1: Some(0) };
    let splits = |level2_splits| Splits {
        level2_splits: Some(level2_splits),
        level3_splits: Some(0),
        ..Splits::default()
    };
    let share = |level2_splits| broken_by_others(&Moment { map, splits: splits(level2_splits) });
    assert!((share(10).expect("a share") - 0.01).abs() < 1e-12);
    assert!((share(100).expect("a share") - 0.1).abs() < 1e-12);
    assert_eq!(broken_by_others(&Moment { map, splits: Splits::default() }), None);
}

/// Returns a system with this map and so many splits, and with this listing of its page tables, if there is one.
fn system(folder: &std::path::Path, splits: u64, listing: Option<&str>) -> Root {
    let (proc, sys) = (folder.join("proc"), folder.join("sys"));
    fs::create_dir_all(&proc).expect("a folder");
    fs::create_dir_all(sys.join("kernel/debug/page_tables")).expect("a folder");
    let small = (16 + splits * MIB_2) >> 10;
    let text = format!("DirectMap4k: {small} kB\nDirectMap2M: {} kB\nDirectMap1G: 0 kB\n", GIB_1 >> 10);
    fs::write(proc.join("meminfo"), text).expect("a file");
    fs::write(
        proc.join("vmstat"),
        format!("direct_map_level2_splits {splits}\ndirect_map_level3_splits 0\n"),
    )
    .expect("a file");
    if let Some(listing) = listing {
        fs::write(sys.join("kernel/debug/page_tables/kernel"), listing).expect("a file");
    }
    Root { proc, sys, passwd: "/etc/passwd".into() }
}

#[test]
fn without_a_listing_earlier_broken_blocks_end_the_comparison_and_with_one_they_are_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(small_blocks(&system(folder.path(), 1, None)), Ok(BTreeSet::new()));
    let refused = small_blocks(&system(folder.path(), 100, None)).expect_err("too many");
    assert!(refused.why.contains("before this study") && refused.remedy.contains("Reboot"), "{refused:?}");
    let listing = "---[ Low Kernel Mapping ]---\n\
        0xffff888000000000-0xffff888000200000           2M     RW                 GLB NX pte\n\
        0xffff888000200000-0xffff888000600000           4M     RW         PSE     GLB NX pmd\n\
        0xffff888000600000-0xffff888000601000           4K     RW                 GLB NX pte\n\
        ---[ vmalloc() Area ]---\n";
    let small = small_blocks(&system(folder.path(), 100, Some(listing))).expect("blocks");
    assert_eq!(small.into_iter().collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn each_pair_has_memory_of_its_own_and_the_control_another_file() {
    let session = Session::quiet(std::env::temp_dir());
    let side = || (0..DRAWS).map(|_| cached_file(64 * KIB_4).expect("a file").0).collect::<Vec<File>>();
    let (one, two, three) = (side(), side(), side());
    fn all(files: &[File]) -> Vec<Piece<'_>> {
        files
            .iter()
            .map(|file| Piece { file, pages: (0..64).map(|page| (page, page / 32)).collect() })
            .collect()
    }
    let sides = [all(&one), all(&two), all(&three)];
    let mut placed = Placed::default();
    placed.measure(&sides, 48, Length::Line, &session).expect("times");
    let (asked, control) = (&placed.comparisons[0], &placed.controls[0]);
    assert_eq!(
        (asked.baseline_samples.len(), asked.arm_samples.len()),
        (DRAWS, DRAWS),
        "a value for each draw"
    );
    assert!(asked.effect.is_some() && asked.effect.expect("an effect").rounds == DRAWS as u32);
    assert_eq!((control.arm.as_str(), asked.arm.as_str()), (SIDES[1], SIDES[2]));
    assert_eq!(control.baseline_samples, asked.baseline_samples);
    assert_eq!(asked.conditions["2-MiB blocks of a draw"], "2 and 2");
    session.end();
    placed.measure(&sides, 48, Length::Page, &session).expect("times");
    assert_eq!(placed.comparisons[1].stopped, Stopped::Cancelled);
    assert_eq!(placed.comparisons[1].effect, None);
}

#[test]
fn files_are_taken_until_their_pages_are_found_or_memory_ends() {
    let session = Session::quiet(std::env::temp_dir());
    let found = search(|_| true, 16, 64 << 20, &session).expect("files");
    assert_eq!(found.len(), DRAWS);
    let lengths: Vec<u64> = found.iter().map(|file| file.metadata().expect("a size").len()).collect();
    assert!(lengths.iter().sum::<u64>() <= 64 << 20, "{lengths:?}");
    let none = search(|_| false, 16, 8 << 20, &session).expect("files");
    assert_eq!(none.iter().map(|file| file.metadata().expect("a size").len()).sum::<u64>(), 8 << 20);
}
