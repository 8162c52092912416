//! [`Records`]: the rings of all CPUs, merged by time; and the newest records of all.

use crate::logger::{GROUP_RINGS, GROUPS, Host, Log, RINGS, Sink};
use crate::record::Record;
use crate::ring::Absent;

/// A reader of a log, oldest record first, up to the moment when it was made. After [`Records::refresh`] it goes on
/// with the records that came since. Records of one ring come in the order in which they were logged, those of
/// different rings in the order of their times. Reading disturbs no writer. The reader is about 8 KiB large: on a short
/// stack, use [`Log::newest`].
///
/// Cost: for each record a look at the rings of one group, 64 at most; for a refresh, at the rings of those groups in
/// which a CPU has logged since.
pub struct Records<'log, H, S> {
    log: &'log Log<H, S>,
    /// The next ticket of each ring.
    next: [u64; RINGS],
    groups: [Group; GROUPS],
    until_ns: u64,
    missed: u64,
    /// Looks at rings so far.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) looks: usize,
}

/// A reader's knowledge of the rings of one group.
#[derive(Clone, Copy)]
struct Group {
    /// The group's count of records when the reader last looked.
    written: u64,
    /// The time of the group's oldest record that is to be read, and the ring in which it lies.
    first: Option<(u64, usize)>,
}

/// Where a record lies, in the order of times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    time_ns: u64,
    number: usize,
    ticket: u64,
}

impl<H: Host, S: Sink> Log<H, S> {
    /// Returns the records that are kept, of all CPUs, oldest first.
    pub fn records(&self) -> Records<'_, H, S> {
        let mut records = Records::from_the_first(self);
        records.refresh();
        // Records that were overwritten before the reader began are not missed.
        records.missed = 0;
        records
    }

    /// Returns the newest `N` of the kept records that `is_wanted` picks, of all CPUs, in the order of their times.
    /// A record that is overwritten meanwhile is left out.
    ///
    /// Takes 32 bytes of stack for each of them, and 256 for a record, so that a report can call it on any stack.
    ///
    /// Cost: each kept record is read once.
    pub fn newest<const N: usize>(
        &self,
        is_wanted: impl Fn(&Record) -> bool,
    ) -> impl Iterator<Item = Record> + '_ {
        // Ascending, with empty places first.
        let mut newest: [Option<Place>; N] = [None; N];
        for number in self.ring_numbers() {
            let Some(ring) = self.ring(number) else { continue };
            for ticket in ring.tickets() {
                let Ok(record) = ring.read(ticket) else { continue };
                let place = Some(Place { time_ns: record.time_ns(), number, ticket });
                if newest.first().is_some_and(|oldest| *oldest < place) && is_wanted(&record) {
                    newest[0] = place;
                    let above = newest.partition_point(|old| *old <= place);
                    newest[..above].rotate_left(1);
                }
            }
        }
        newest.into_iter().flatten().filter_map(|place| self.ring(place.number)?.read(place.ticket).ok())
    }
}

impl<'log, H, S> Records<'log, H, S> {
    /// Returns a reader of all that is logged from boot on, for a `static`. It has nothing to read until
    /// [`Records::refresh`].
    pub const fn from_the_first(log: &'log Log<H, S>) -> Self {
        Self {
            log,
            next: [0; RINGS],
            groups: [Group { written: 0, first: None }; GROUPS],
            until_ns: 0,
            missed: 0,
            #[cfg(all(test, not(any(loom, shuttle))))]
            looks: 0,
        }
    }

    /// Returns how many records were overwritten while this reader was on its way to them.
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}

impl<H: Host, S: Sink> Records<'_, H, S> {
    /// Goes on with the records logged until now.
    pub fn refresh(&mut self) {
        self.until_ns = self.log.host().now_ns();
        for (group, written) in self.log.written().enumerate() {
            if self.groups[group].written != written {
                self.groups[group] = Group { written, first: self.first_of(group) };
            }
        }
    }

    /// Returns the time of the oldest record of a group that is to be read, and its ring.
    fn first_of(&mut self, group: usize) -> Option<(u64, usize)> {
        let end = self.log.ring_numbers().end.min((group + 1) * GROUP_RINGS);
        (group * GROUP_RINGS..end).filter_map(|number| Some((self.peek(number)?, number))).min()
    }

    /// Returns the time of the next readable record of a ring, and moves past the records before it.
    fn peek(&mut self, number: usize) -> Option<u64> {
        #[cfg(all(test, not(any(loom, shuttle))))]
        {
            self.looks += 1;
        }
        let ring = self.log.ring(number)?;
        let next = &mut self.next[number];
        loop {
            let tickets = ring.tickets();
            if *next < tickets.start {
                self.missed += tickets.start - *next;
                *next = tickets.start;
            }
            if *next >= tickets.end {
                return None;
            }
            match ring.time_ns(*next) {
                Ok(time_ns) => return Some(time_ns),
                // Its CPU may be writing it now.
                Err(Absent::Unfinished) if *next + 1 == tickets.end => return None,
                // The CPU has logged since. So the writer of this record was cut short, or found no room; the ring
                // counts such records itself.
                Err(Absent::Unfinished) => {}
                Err(Absent::Overwritten) => self.missed += 1,
            }
            *next += 1;
        }
    }
}

impl<H: Host, S: Sink> Iterator for Records<'_, H, S> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let firsts = self.groups.iter().filter_map(|group| group.first);
            let (_, number) = firsts.filter(|&(time_ns, _)| time_ns <= self.until_ns).min()?;
            let record = self.log.ring(number)?.read(self.next[number]);
            self.next[number] += 1;
            let group = number / GROUP_RINGS;
            self.groups[group].first = self.first_of(group);
            match record {
                Ok(record) => return Some(record),
                // Overwritten between the look at its time and now.
                Err(_) => self.missed += 1,
            }
        }
    }
}
