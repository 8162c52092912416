use rhumb_tlb_model::published;

use super::*;

/// The whole upper half by pages of 1 GiB at their own offset: one root, whose entries all lead to one table, and that
/// one's entries are pages.
struct Memory;

impl PhysicalMemory for Memory {
    fn read(&self, physical: u64) -> Option<u64> {
        match physical >> 12 {
            1 => Some(0x2000 | 0x63),
            2 => Some((physical >> 3 & 0x1ff) << 30 | 0x1e3),
            _ => None,
        }
    }
}

const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
const IMAGE: u64 = 0xffff_ffff_8100_0000;

fn region(number: u16) -> RegionId {
    RegionId::new(number).unwrap()
}

fn tracer() -> Tracer<Memory> {
    Tracer::new(Memory, vec![published::skylake_sp(), published::zen3()]).unwrap()
}

#[test]
fn accesses_are_counted_between_marks_and_followed_outside_of_them() {
    let mut tracer = tracer();
    assert!(!tracer.is_armed());
    tracer.mark(0, Mark::Begin(region(0)), 0x1000);
    tracer.mark(0, Mark::End(region(0)), 0x1000);
    assert!(tracer.is_armed());
    // Outside: the page is cached, and not counted.
    tracer.access(0, DIRECT_MAP, 8, Purpose::Load);
    tracer.mark(0, Mark::Begin(region(7)), 0x1000);
    tracer.access(0, DIRECT_MAP + 8, 8, Purpose::Load);
    tracer.access(0, DIRECT_MAP + (1 << 30), 8, Purpose::Store);
    tracer.fetch(0, IMAGE);
    tracer.mark(0, Mark::End(region(7)), 0x1000);
    tracer.access(0, DIRECT_MAP + (9 << 30), 8, Purpose::Load);
    let traced = &tracer.report().regions[&region(7)];
    assert_eq!(traced.runs, 1);
    for sums in &traced.here {
        let data = sums.of(Place::DirectMap, Content::Data);
        // The walk to the second page finds the PML4E of the first.
        assert_eq!((data.accesses, data.misses, data.walks, data.references), (2, 1, [0, 0, 1], 1));
        let code = sums.of(Place::Image, Content::Code);
        assert_eq!((code.accesses, code.walks, code.references), (1, [0, 0, 1], 2));
        assert_eq!(sums.over(Content::Data, |place| place != Place::DirectMap), Default::default());
    }
    assert!(traced.elsewhere.iter().all(|sums| *sums == Sums::default()));
}

#[test]
fn other_cpus_have_caches_of_their_own() {
    let mut tracer = tracer();
    tracer.mark(0, Mark::Begin(region(1)), 0x1000);
    tracer.access(0, DIRECT_MAP, 8, Purpose::Load);
    tracer.access(3, DIRECT_MAP, 8, Purpose::Load);
    tracer.flush(3, Flush::Page(DIRECT_MAP));
    tracer.access(3, DIRECT_MAP, 8, Purpose::Load);
    tracer.access(0, DIRECT_MAP, 8, Purpose::Load);
    tracer.mark(0, Mark::End(region(1)), 0x1000);
    let traced = &tracer.report().regions[&region(1)];
    assert_eq!((traced.flushed_pages, traced.full_flushes), (1, 0));
    for (here, elsewhere) in traced.here.iter().zip(&traced.elsewhere) {
        assert_eq!(here.of(Place::DirectMap, Content::Data).all_walks(), 1);
        assert_eq!(elsewhere.of(Place::DirectMap, Content::Data).all_walks(), 2);
    }
}

#[test]
fn an_access_across_the_end_of_a_page_is_two() {
    let mut tracer = tracer();
    tracer.mark(0, Mark::Begin(region(1)), 0x1000);
    tracer.access(0, DIRECT_MAP + (1 << 30) - 4, 8, Purpose::Load);
    tracer.access(0, DIRECT_MAP + 0xff8, 8, Purpose::Load);
    tracer.mark(0, Mark::End(region(1)), 0x1000);
    let traced = &tracer.report().regions[&region(1)];
    let data = traced.here[0].of(Place::DirectMap, Content::Data);
    assert_eq!((data.accesses, data.all_walks()), (3, 2));
}

#[test]
fn runs_add_up_and_marks_that_do_not_pair_change_nothing() {
    let mut tracer = tracer();
    for turn in 0..3 {
        tracer.mark(0, Mark::Begin(region(1)), 0x1000);
        tracer.access(0, DIRECT_MAP + (turn << 30), 8, Purpose::Load);
        tracer.mark(0, Mark::End(region(1)), 0x1000);
        tracer.mark(0, Mark::End(region(1)), 0x1000);
    }
    let traced = &tracer.report().regions[&region(1)];
    assert_eq!((traced.runs, traced.here[1].of(Place::DirectMap, Content::Data).all_walks()), (3, 3));
}
