//! The model against one that is written as plainly as it can be: lists of pages in the order of their use.

use proptest::prelude::*;
use rhumb_tlb_model::{
    Access, Array, Flush, Geometry, Model, PageSize, Purpose, Serves, Side, Tables, Translation, WalkCache,
};

/// One entry: its size, its number, the size of the whole page, whether it is global. Tables' entries have no size.
#[derive(Clone, PartialEq, Debug)]
struct Entry {
    size: Option<PageSize>,
    level: usize,
    number: u64,
    whole: PageSize,
    is_global: bool,
}

/// A set of a cache, the entry used last at its end.
#[derive(Clone, Default, Debug)]
struct Plain {
    sets: Vec<Vec<Entry>>,
    ways: usize,
}

impl Plain {
    fn new(sets: u32, ways: u32) -> Self {
        Self { sets: vec![Vec::new(); sets as usize], ways: ways as usize }
    }

    fn find(&mut self, size: Option<PageSize>, level: usize, number: u64) -> Option<Entry> {
        let sets = self.sets.len() as u64;
        let set = &mut self.sets[(number % sets) as usize];
        let at = set
            .iter()
            .position(|entry| entry.size == size && entry.level == level && entry.number == number)?;
        let entry = set.remove(at);
        set.push(entry.clone());
        Some(entry)
    }

    fn put(&mut self, entry: Entry) {
        if self.find(entry.size, entry.level, entry.number).is_some() {
            return;
        }
        let sets = self.sets.len() as u64;
        let set = &mut self.sets[(entry.number % sets) as usize];
        if set.len() == self.ways {
            set.remove(0);
        }
        set.push(entry);
    }
}

struct Naive {
    geometry: Geometry,
    arrays: Vec<Plain>,
    walk_caches: Vec<Plain>,
    /// First-level hits, second-level hits, walks, references.
    counts: [u64; 4],
}

impl Naive {
    fn new(geometry: &Geometry) -> Self {
        let walk_caches = geometry.walk_caches.iter().map(|cache| match cache {
            WalkCache::Own { sets, ways, .. } => Plain::new(*sets, *ways),
            WalkCache::SecondLevel { .. } => panic!("not in these geometries"),
        });
        Self {
            arrays: geometry.arrays.iter().map(|array| Plain::new(array.sets, array.ways)).collect(),
            walk_caches: walk_caches.collect(),
            geometry: geometry.clone(),
            counts: [0; 4],
        }
    }

    fn array(&self, level: u8, purpose: Purpose, size: PageSize) -> Option<usize> {
        let mut arrays = self.geometry.arrays.iter();
        arrays.position(|array| {
            array.level == level && array.serves.takes(purpose) && array.pages.contains(&size)
        })
    }

    fn look_up(&mut self, level: u8, access: Access) -> Option<Entry> {
        for size in PageSize::ALL {
            if let Some(array) = self.array(level, access.purpose, size) {
                let found = self.arrays[array].find(Some(size), 0, access.address >> size.shift());
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn fill(&mut self, level: u8, access: Access, whole: PageSize, is_global: bool) {
        for size in PageSize::ALL.into_iter().rev().filter(|size| *size <= whole) {
            if let Some(array) = self.array(level, access.purpose, size) {
                let number = access.address >> size.shift();
                self.arrays[array].put(Entry { size: Some(size), level: 0, number, whole, is_global });
                return;
            }
        }
    }

    fn access(&mut self, access: Access, tables: &mut impl Tables) {
        if self.look_up(1, access).is_some() {
            self.counts[0] += 1;
            return;
        }
        if let Some(entry) = self.look_up(2, access) {
            self.counts[1] += 1;
            self.fill(1, access, entry.whole, entry.is_global);
            return;
        }
        let translation = tables.translate(access.address).unwrap();
        self.counts[2] += 1;
        let leaf = translation.page.level();
        let cache_of = |geometry: &Geometry, level: usize| {
            geometry
                .walk_caches
                .iter()
                .position(|cache| matches!(cache, WalkCache::Own { levels, .. } if levels.contains(&level)))
        };
        let number = |level: usize| access.address >> (12 + 9 * (level - 1));
        let mut begin = 4;
        for level in leaf + 1..=4 {
            if let Some(cache) = cache_of(&self.geometry, level)
                && self.walk_caches[cache].find(None, level, number(level)).is_some()
            {
                begin = level - 1;
                break;
            }
        }
        for level in (leaf..=begin).rev() {
            self.counts[3] += 1;
            if let (true, Some(cache)) = (level > leaf, cache_of(&self.geometry, level)) {
                let (number, whole) = (number(level), PageSize::Size4K);
                self.walk_caches[cache].put(Entry { size: None, level, number, whole, is_global: false });
            }
        }
        self.fill(2, access, translation.page, translation.is_global);
        self.fill(1, access, translation.page, translation.is_global);
    }

    fn flush(&mut self, flush: Flush) {
        let goes = |entry: &Entry| match (flush, entry.size) {
            (Flush::All, _) => true,
            (Flush::Page(_), None) => true,
            (Flush::Page(address), Some(size)) => {
                let whole = entry.whole.max(size).shift();
                entry.number << size.shift() >> whole == address >> whole
            }
            (Flush::NonGlobal | Flush::Space(0), _) => !entry.is_global,
            (Flush::Space(_), _) => false,
        };
        for cache in self.arrays.iter_mut().chain(&mut self.walk_caches) {
            cache.sets.iter_mut().for_each(|set| set.retain(|entry| !goes(entry)));
        }
    }
}

/// 16 GiB: the first by pages of 4 KiB, the next three by 2 MiB, the rest by 1 GiB; every other page is global.
struct Mixed;

impl Tables for Mixed {
    fn translate(&mut self, address: u64) -> Option<Translation> {
        let page = match address >> 30 {
            0 => PageSize::Size4K,
            1..4 => PageSize::Size2M,
            _ => PageSize::Size1G,
        };
        Some(Translation { is_global: address >> page.shift() & 1 == 1, ..Translation::by(page) })
    }
}

fn geometry() -> impl Strategy<Value = Geometry> {
    use PageSize::{Size1G, Size2M, Size4K};
    let sizes = |bits: u8| -> Vec<PageSize> {
        [Size4K, Size2M, Size1G].into_iter().filter(|size| bits >> size.index() & 1 == 1).collect()
    };
    let array = (0u8..8, 1u32..5, 1u32..6);
    (prop::collection::vec(array, 4), prop::collection::vec((1u32..3, 1u32..4), 3), any::<bool>()).prop_map(
        move |(arrays, walk_caches, is_split)| {
            let array = |index: usize, level, serves, more: &[PageSize]| {
                let (bits, sets, ways) = arrays[index];
                let mut pages = sizes(bits);
                pages.extend(more.iter().filter(|size| !sizes(bits).contains(size)));
                Array { sets, ..Array::new(level, serves, &pages, sets * ways, ways) }
            };
            let stores = if is_split { Serves::Loads } else { Serves::Data };
            let mut all = vec![
                array(0, 1, stores, &[]),
                array(1, 1, Serves::Code, &[Size4K]),
                array(2, 2, Serves::All, &[]),
            ];
            if is_split {
                all.push(array(3, 1, Serves::Stores, &[Size4K]));
            }
            let walk_caches = walk_caches.iter().zip(2..).map(|((sets, ways), level)| WalkCache::Own {
                levels: vec![level],
                sets: *sets,
                ways: *ways,
            });
            Geometry {
                id: "any".into(),
                name: "any".into(),
                arrays: all,
                walk_caches: walk_caches.collect(),
                levels: 4,
                sources: Vec::new(),
            }
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Access(u64, Purpose),
    Flush(Flush),
}

fn step() -> impl Strategy<Value = Step> {
    // Few pages of each size, so that they meet again.
    let address = prop_oneof![
        (0u64..24).prop_map(|number| number * 0x1000 + (number % 3) * 0x20_0000),
        (512u64..524).prop_map(|number| number * 0x20_0000 + number),
        (4u64..16, 0u64..4).prop_map(|(number, piece)| (number << 30) + piece * 0x20_0000),
    ];
    let purpose = prop_oneof![Just(Purpose::Fetch), Just(Purpose::Load), Just(Purpose::Store)];
    prop_oneof![
        24 => (address.clone(), purpose).prop_map(|(address, purpose)| Step::Access(address, purpose)),
        2 => address.prop_map(|address| Step::Flush(Flush::Page(address))),
        1 => prop_oneof![Just(Flush::NonGlobal), Just(Flush::All), (0u16..2).prop_map(Flush::Space)]
            .prop_map(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_model_counts_what_plain_lists_count(
        geometry in geometry(),
        steps in prop::collection::vec(step(), 1..400),
    ) {
        prop_assume!(geometry.check().is_ok());
        let mut model = Model::new(&geometry).unwrap();
        let mut naive = Naive::new(&geometry);
        for (index, step) in steps.iter().enumerate() {
            match *step {
                Step::Access(address, purpose) => {
                    let access = Access { address, purpose, side: Side::Kernel };
                    model.access(access, &mut Mixed);
                    naive.access(access, &mut Mixed);
                }
                Step::Flush(flush) => {
                    model.flush(flush);
                    naive.flush(flush);
                }
            }
            let all = model.totals().all();
            let counts = [all.first_level_hits, all.second_level_hits, all.all_walks(), all.all_references()];
            prop_assert_eq!(counts, naive.counts, "after step {}: {:?}", index, step);
        }
    }
}
