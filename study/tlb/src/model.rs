//! The caches at work.

use crate::access::{Access, Class, Flush, Purpose, Tables, Translation};
use crate::cache::{Cache, Replacement, Tag};
use crate::counts::{Counts, Totals};
use crate::geometry::{Geometry, WalkCache, WrongGeometry};
use crate::nested::{Host, Nested};
use crate::page::{MAX_LEVELS, PageSize};

/// The arrays of a level, by purpose of access and size of page: places in the list of caches.
type Route = [[Vec<usize>; 3]; 3];

/// The page that an access found last, by the port that it used.
#[derive(Clone, Copy)]
struct Last {
    number: u64,
    shift: u32,
}

/// Where the translation of an access was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// In the first level.
    FirstLevel,
    /// In the second level only.
    SecondLevel,
    /// In the tables.
    Walk {
        /// The size of the page that the walk found.
        page: PageSize,
        /// Entries that it read, the host's among them.
        references: u64,
    },
    /// Nowhere: no page maps the address.
    Absent,
}

/// The translation caches of one CPU.
pub struct Model {
    geometry: Geometry,
    caches: Vec<Cache>,
    first: Route,
    second: Route,
    /// The cache of the tables' entries at each level.
    walk_caches: [Option<usize>; MAX_LEVELS + 1],
    /// For each purpose, the port of the first level: purposes that share an array share a port.
    ports: [usize; 3],
    last: [Option<Last>; 3],
    space: u16,
    host: Option<Host>,
    totals: Totals,
}

impl Model {
    /// Makes caches of this geometry, with nothing in them.
    ///
    /// # Errors
    /// The geometry is none.
    pub fn new(geometry: &Geometry) -> Result<Self, WrongGeometry> {
        Self::with_host(geometry, None)
    }

    /// Makes the caches of a CPU that runs a guest, whose accesses and tables the model then follows.
    ///
    /// # Errors
    /// The geometry is none.
    pub fn nested(geometry: &Geometry, nested: Nested) -> Result<Self, WrongGeometry> {
        Self::with_host(geometry, Some(Host::new(nested)))
    }

    fn with_host(geometry: &Geometry, host: Option<Host>) -> Result<Self, WrongGeometry> {
        geometry.check()?;
        let mut caches: Vec<Cache> = geometry
            .arrays
            .iter()
            .map(|array| Cache::new(array.sets, array.ways, array.replacement))
            .collect();
        let route = |level: u8| -> Route {
            Purpose::ALL.map(|purpose| {
                PageSize::ALL.map(|size| {
                    let holds = |index: &usize| {
                        let array = &geometry.arrays[*index];
                        array.level == level && array.serves.takes(purpose) && array.pages.contains(&size)
                    };
                    (0..geometry.arrays.len()).filter(holds).collect()
                })
            })
        };
        let (first, second) = (route(1), route(2));
        let mut walk_caches = [None; MAX_LEVELS + 1];
        for cache in &geometry.walk_caches {
            let place = match cache {
                WalkCache::Own { sets, ways, .. } => {
                    caches.push(Cache::new(*sets, *ways, Replacement::Lru));
                    Some(caches.len() - 1)
                }
                WalkCache::SecondLevel { .. } => geometry.second_level_for_data(),
            };
            cache.levels().iter().for_each(|level| walk_caches[*level] = place);
        }
        Ok(Self {
            ports: ports(&first),
            geometry: geometry.clone(),
            caches,
            first,
            second,
            walk_caches,
            last: [None; 3],
            space: 0,
            host,
            totals: Totals::default(),
        })
    }

    /// Returns the geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Returns all that was counted.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Follows one access, and returns where its translation was.
    ///
    /// Cost: constant, and one question to the tables where no cache has the translation.
    #[inline]
    pub fn access(&mut self, access: Access, tables: &mut impl Tables) -> Outcome {
        let counts = self.totals.of_mut(Class::of(access.side, access.purpose));
        counts.accesses += 1;
        // The page that a port used last is the last used of its set: to find it again changes nothing.
        if let Some(last) = self.last[self.ports[access.purpose as usize]]
            && access.address >> last.shift == last.number
        {
            counts.first_level_hits += 1;
            return Outcome::FirstLevel;
        }
        self.access_other(access, tables)
    }

    fn access_other(&mut self, access: Access, tables: &mut impl Tables) -> Outcome {
        let Access { address, purpose, side } = access;
        let mut seen = Counts::default();
        let outcome = if let Some((size, _)) = self.look_up(Level::First, purpose, address) {
            seen.first_level_hits = 1;
            self.remember(purpose, address, size);
            Outcome::FirstLevel
        } else if let Some((_, found)) = self.look_up(Level::Second, purpose, address) {
            seen.second_level_hits = 1;
            self.fill(Level::First, purpose, address, found.whole(), found.is_global());
            Outcome::SecondLevel
        } else if let Some(translation) = tables.translate(address) {
            self.walk(purpose, address, &translation, &mut seen);
            Outcome::Walk { page: translation.page, references: seen.all_references() }
        } else {
            seen.absent = 1;
            self.last[self.ports[purpose as usize]] = None;
            Outcome::Absent
        };
        let counts = self.totals.of_mut(Class::of(side, purpose));
        *counts = *counts + seen;
        outcome
    }

    fn route(&self, level: Level) -> &Route {
        match level {
            Level::First => &self.first,
            Level::Second => &self.second,
        }
    }

    /// The array of a level in which a page, or a piece of one, of `size` has its place.
    fn array(&self, level: Level, purpose: Purpose, address: u64, size: PageSize) -> Option<usize> {
        match self.route(level)[purpose as usize][size.index()].as_slice() {
            [] => None,
            [only] => Some(*only),
            several => {
                let number = Tag::page(address, size, 0).number();
                let turn = number / self.caches[several[0]].sets() % several.len() as u64;
                Some(several[turn as usize])
            }
        }
    }

    fn look_up(&mut self, level: Level, purpose: Purpose, address: u64) -> Option<(PageSize, Tag)> {
        PageSize::ALL.into_iter().find_map(|size| {
            let array = self.array(level, purpose, address, size)?;
            let cache = &mut self.caches[array];
            if cache.is_empty() {
                return None;
            }
            Some((size, cache.touch(Tag::page(address, size, self.space))?))
        })
    }

    fn remember(&mut self, purpose: Purpose, address: u64, size: PageSize) {
        let shift = size.shift();
        self.last[self.ports[purpose as usize]] = Some(Last { number: address >> shift, shift });
    }

    /// Caches a page, or the largest piece of it that the level has an array for.
    fn fill(&mut self, level: Level, purpose: Purpose, address: u64, page: PageSize, is_global: bool) {
        let sizes = PageSize::ALL.into_iter().rev().filter(|size| *size <= page);
        let place = sizes.filter_map(|size| Some((size, self.array(level, purpose, address, size)?))).next();
        if let Some((size, array)) = place {
            self.caches[array].insert(Tag::page(address, size, self.space).of_whole(page, is_global));
            if level == Level::First {
                self.remember(purpose, address, size);
            }
        } else if level == Level::First {
            self.last[self.ports[purpose as usize]] = None;
        }
    }

    fn walk(&mut self, purpose: Purpose, address: u64, translation: &Translation, seen: &mut Counts) {
        let (leaf, levels) = (translation.page.level(), self.geometry.levels);
        seen.walks[translation.page.index()] = 1;
        let begin = (leaf + 1..=levels)
            .find(|level| {
                let tag = Tag::table(address, *level, self.space);
                self.walk_caches[*level].is_some_and(|cache| self.caches[cache].touch(tag).is_some())
            })
            .map_or(levels, |level| level - 1);
        for level in (leaf..=begin).rev() {
            seen.references[level - 1] += 1;
            if let Some(host) = &mut self.host {
                seen.host_references += host.translate(translation.entries[level - 1]);
            }
            if let (true, Some(cache)) = (level > leaf, self.walk_caches[level]) {
                self.caches[cache].insert(Tag::table(address, level, self.space));
            }
        }
        let mut page = translation.page;
        if let Some(host) = &mut self.host {
            seen.host_references += host.translate(translation.physical);
            page = page.min(host.page());
        }
        self.fill(Level::Second, purpose, address, page, translation.is_global);
        self.fill(Level::First, purpose, address, page, translation.is_global);
    }

    /// Drops translations, as an instruction of the guest or of the bare machine does.
    pub fn flush(&mut self, flush: Flush) {
        let space = self.space;
        // The manual has walk caches of a space go with each of its pages (SDM 3A, 4.10.4.1).
        let is_kept = |tag: Tag| match flush {
            Flush::Page(address) => {
                !(if tag.is_table() {
                    tag.is_of_space(space)
                } else {
                    tag.is_page_of(address) && (tag.is_global() || tag.is_of_space(space))
                })
            }
            Flush::NonGlobal => tag.is_global(),
            Flush::All => false,
            Flush::Space(of) => tag.is_global() || !tag.is_of_space(of),
        };
        self.totals.flushes += 1;
        self.totals.dropped += self.caches.iter_mut().map(|cache| cache.retain(is_kept)).sum::<u64>();
        self.last = [None; 3];
    }

    /// Goes on in another address space without a flush: a load of CR3 with bit 63 set.
    pub fn switch_to(&mut self, space: u16) {
        self.space = space;
        self.last = [None; 3];
    }

    /// Drops what the host's side of nested paging has cached, and everything else: `invept`.
    pub fn flush_host(&mut self) {
        if let Some(host) = &mut self.host {
            host.clear();
        }
        self.flush(Flush::All);
    }
}

/// A level of translation caches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    First,
    Second,
}

/// Returns the port of each purpose: the least purpose with which it shares an array, directly or through a third.
fn ports(first: &Route) -> [usize; 3] {
    let mut ports = [0, 1, 2];
    let arrays = |purpose: usize| first[purpose].iter().flatten();
    for _ in 0..3 {
        for one in 0..3 {
            for other in 0..3 {
                if arrays(one).any(|array| arrays(other).any(|index| index == array)) {
                    ports[one] = ports[one].min(ports[other]);
                }
            }
        }
    }
    ports
}

#[cfg(test)]
mod tests;
