//! A plain model of Linux's design: per-CPU lists over buddy lists under a zone lock, a 64-byte descriptor per page.
//!
//! ```text
//!   CPU 0: lock, lists of orders 0 1 2 3 9       CPU 1: the same
//!               │ 63 pages at a time, under the zone lock │
//!   zone: lock, free lists of orders 0..=10, each through the descriptors of its blocks' first pages
//! ```
//!
//! It has of Linux (mm/page_alloc.c, as of 6.x): a lock for each CPU's lists, last in first out; refill and drain
//! in batches of 63, drained from the cold end; merging with the buddy by looking into its descriptor; blocks of up to
//! 4 MiB. It lacks migrate types, watermarks, statistics, and the disabling of preemption, so it is a bit
//! faster than the original.

use std::sync::atomic::{AtomicU32, Ordering};

use rhumb_machine::{Order, Pfn, Pinned};
use spin::{Mutex, MutexGuard};

use crate::driver::Unfit;
use crate::frames::subject::{FrameSubject, Region};

/// The largest block is 4 MiB.
const MAX_ORDER: usize = 10;
/// Pages that move between a CPU's lists and the zone at once.
const BATCH: usize = 63;
/// Pages that a CPU's lists of small orders may hold: six batches.
const HIGH: usize = 6 * BATCH;
/// 2-MiB blocks that a CPU's list may hold.
const HIGH_LARGE: usize = 2;
/// Orders with a per-CPU list: the small ones and 2 MiB.
const CACHED_ORDERS: [usize; 5] = [0, 1, 2, 3, 9];
/// No page.
const NONE: u32 = u32::MAX;
/// State of a page that is no free block of the buddy; otherwise the state is the block's order.
const NOT_BUDDY: u32 = u32::MAX;

/// More descriptors than this are more memory than a workstation lends.
const LARGEST_FRAMES: u64 = 1 << 25;

/// A page's descriptor. Links are read and written under the lock of the list that the page is on; the state of a buddy
/// may be looked at while its owner changes it, hence atomics, which cost nothing here.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Page {
    next: AtomicU32,
    previous: AtomicU32,
    state: AtomicU32,
}

const _: () = assert!(size_of::<Page>() == 64);

/// A doubly linked list through descriptors.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    length: usize,
}

impl List {
    const EMPTY: Self = Self { head: NONE, tail: NONE, length: 0 };

    #[inline]
    fn push_front(&mut self, pages: &[Page], page: u32) {
        let links = &pages[page as usize];
        links.next.store(self.head, Ordering::Relaxed);
        links.previous.store(NONE, Ordering::Relaxed);
        match self.head {
            NONE => self.tail = page,
            head => pages[head as usize].previous.store(page, Ordering::Relaxed),
        }
        self.head = page;
        self.length += 1;
    }

    #[inline]
    fn push_back(&mut self, pages: &[Page], page: u32) {
        let links = &pages[page as usize];
        links.next.store(NONE, Ordering::Relaxed);
        links.previous.store(self.tail, Ordering::Relaxed);
        match self.tail {
            NONE => self.head = page,
            tail => pages[tail as usize].next.store(page, Ordering::Relaxed),
        }
        self.tail = page;
        self.length += 1;
    }

    #[inline]
    fn remove(&mut self, pages: &[Page], page: u32) {
        let next = pages[page as usize].next.load(Ordering::Relaxed);
        let previous = pages[page as usize].previous.load(Ordering::Relaxed);
        match previous {
            NONE => self.head = next,
            previous => pages[previous as usize].next.store(next, Ordering::Relaxed),
        }
        match next {
            NONE => self.tail = previous,
            next => pages[next as usize].previous.store(previous, Ordering::Relaxed),
        }
        self.length -= 1;
    }

    #[inline]
    fn pop_front(&mut self, pages: &[Page]) -> Option<u32> {
        let page = self.head;
        (page != NONE).then(|| {
            self.remove(pages, page);
            page
        })
    }

    #[inline]
    fn pop_back(&mut self, pages: &[Page]) -> Option<u32> {
        let page = self.tail;
        (page != NONE).then(|| {
            self.remove(pages, page);
            page
        })
    }
}

/// Free blocks by order.
struct Zone {
    free: [List; MAX_ORDER + 1],
}

impl Zone {
    fn take(&mut self, pages: &[Page], order: usize) -> Option<u32> {
        let found = (order..=MAX_ORDER).find(|&order| self.free[order].length > 0)?;
        let page = self.free[found].pop_front(pages)?;
        pages[page as usize].state.store(NOT_BUDDY, Ordering::Relaxed);
        for smaller in (order..found).rev() {
            self.insert(pages, page + (1 << smaller), smaller);
        }
        Some(page)
    }

    fn insert(&mut self, pages: &[Page], page: u32, order: usize) {
        pages[page as usize].state.store(order as u32, Ordering::Relaxed);
        self.free[order].push_front(pages, page);
    }

    fn give(&mut self, pages: &[Page], mut page: u32, mut order: usize) {
        while order < MAX_ORDER {
            let buddy = page ^ (1 << order);
            let Some(descriptor) = pages.get(buddy as usize) else { break };
            if descriptor.state.load(Ordering::Relaxed) != order as u32 {
                break;
            }
            self.free[order].remove(pages, buddy);
            descriptor.state.store(NOT_BUDDY, Ordering::Relaxed);
            page &= buddy;
            order += 1;
        }
        self.insert(pages, page, order);
    }
}

/// One CPU's lists.
struct CpuLists {
    lists: [List; CACHED_ORDERS.len()],
    /// Pages on the lists of small orders.
    small_pages: usize,
}

/// Apart from its neighbours.
#[repr(align(128))]
struct Padded<T>(T);

/// The allocator.
pub(crate) struct LinuxModel {
    pages: Box<[Page]>,
    first: Pfn,
    zone: Padded<Mutex<Zone>>,
    cpus: Box<[Padded<Mutex<CpuLists>>]>,
}

/// Returns which of a CPU's lists is for `order`.
#[inline]
fn list_of(order: usize) -> Option<usize> {
    match order {
        0..=3 => Some(order),
        9 => Some(4),
        _ => None,
    }
}

impl LinuxModel {
    fn lists(&self, pinned: Pinned<'_>) -> MutexGuard<'_, CpuLists> {
        self.cpus[pinned.cpu().index() % self.cpus.len()].0.lock()
    }

    fn refill(&self, list: &mut List, order: usize) -> usize {
        let blocks = (BATCH >> order).max(if order == 9 { 1 } else { 2 });
        let mut zone = self.zone.0.lock();
        for _ in 0..blocks {
            match zone.take(&self.pages, order) {
                Some(page) => list.push_back(&self.pages, page),
                None => break,
            }
        }
        list.length << order
    }

    /// Moves blocks from the cold ends of the small lists, in turn, until `pages` have gone.
    fn drain_small(&self, lists: &mut CpuLists, pages: usize) {
        let mut zone = self.zone.0.lock();
        let (mut gone, mut turn) = (0, 0);
        while gone < pages && lists.small_pages > 0 {
            let order = CACHED_ORDERS[turn % 4];
            if let Some(page) = lists.lists[turn % 4].pop_back(&self.pages) {
                zone.give(&self.pages, page, order);
                gone += 1 << order;
                lists.small_pages -= 1 << order;
            }
            turn += 1;
        }
    }

    fn drain_large(&self, lists: &mut CpuLists, keep: usize) {
        let list = &mut lists.lists[4];
        if list.length <= keep {
            return;
        }
        let mut zone = self.zone.0.lock();
        while list.length > keep {
            match list.pop_back(&self.pages) {
                Some(page) => zone.give(&self.pages, page, CACHED_ORDERS[4]),
                None => break,
            }
        }
    }
}

impl FrameSubject for LinuxModel {
    const NAME: &'static str = "linux-model";
    type Held = u32;
    type Storage = Box<[Page]>;

    fn storage(region: &Region) -> Result<Self::Storage, Unfit> {
        let frames = region.frames().frames();
        if frames > LARGEST_FRAMES {
            return Err(Unfit(format!("its descriptors take {} GiB", (frames * 64) >> 30)));
        }
        let page =
            |_| Page { next: AtomicU32::new(0), previous: AtomicU32::new(0), state: AtomicU32::new(0) };
        Ok((0..frames).map(page).collect())
    }

    fn new(region: &Region, pages: Self::Storage) -> Result<Self, Unfit> {
        for page in &pages {
            page.next.store(NONE, Ordering::Relaxed);
            page.previous.store(NONE, Ordering::Relaxed);
            page.state.store(NOT_BUDDY, Ordering::Relaxed);
        }
        let mut zone = Zone { free: [List::EMPTY; MAX_ORDER + 1] };
        for block in (0..pages.len() >> MAX_ORDER).rev() {
            zone.insert(&pages, (block << MAX_ORDER) as u32, MAX_ORDER);
        }
        let cpu =
            |_| Padded(Mutex::new(CpuLists { lists: [List::EMPTY; CACHED_ORDERS.len()], small_pages: 0 }));
        Ok(Self {
            pages,
            first: region.frames().start(),
            zone: Padded(Mutex::new(zone)),
            cpus: (0..region.cpus).map(cpu).collect(),
        })
    }

    fn metadata_bytes(&self) -> Option<u64> {
        Some(size_of_val(&*self.pages) as u64)
    }

    #[inline]
    fn get(&self, pinned: Pinned<'_>, order: Order) -> Option<u32> {
        let order = usize::from(order.get());
        let Some(index) = list_of(order) else {
            return self.zone.0.lock().take(&self.pages, order);
        };
        let mut lists = self.lists(pinned);
        if lists.lists[index].length == 0 {
            let mut list = lists.lists[index];
            let pages = self.refill(&mut list, order);
            lists.lists[index] = list;
            if order != 9 {
                lists.small_pages += pages;
            }
        }
        let page = lists.lists[index].pop_front(&self.pages)?;
        if order != 9 {
            lists.small_pages -= 1 << order;
        }
        Some(page)
    }

    #[inline]
    fn put(&self, pinned: Pinned<'_>, page: u32, order: Order) {
        let order = usize::from(order.get());
        let Some(index) = list_of(order) else {
            return self.zone.0.lock().give(&self.pages, page, order);
        };
        let mut lists = self.lists(pinned);
        lists.lists[index].push_front(&self.pages, page);
        if order == 9 {
            self.drain_large(&mut lists, HIGH_LARGE);
        } else {
            lists.small_pages += 1 << order;
            if lists.small_pages > HIGH {
                self.drain_small(&mut lists, BATCH);
            }
        }
    }

    #[inline]
    fn first(&self, page: &u32) -> Pfn {
        self.first.plus(u64::from(*page))
    }

    fn drain(&self, pinned: Pinned<'_>) {
        let mut lists = self.lists(pinned);
        self.drain_small(&mut lists, usize::MAX);
        self.drain_large(&mut lists, 0);
    }
}
