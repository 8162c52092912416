//! [`Records`]: the rings of all CPUs, merged by time; and the newest records of all.

use crate::logger::{Host, Log, RINGS, Sink};
use crate::record::Record;
use crate::ring::Absent;

/// Reads a log, oldest record first, up to the moment when it was made; [`Records::refresh`] lets it go on with what
/// came since. Records of one ring come in the order in which they were logged, those of different rings in the order
/// of their times. Reading disturbs no writer. About 8 KiB: on a short stack, see [`Log::newest`].
pub struct Records<'log, H, S> {
    log: &'log Log<H, S>,
    /// The next ticket of each ring.
    next: [u64; RINGS],
    until_ns: u64,
    missed: u64,
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
        let mut next = [0; RINGS];
        for (number, next) in self.ring_numbers().zip(&mut next) {
            *next = self.ring(number).map_or(0, |ring| ring.tickets().start);
        }
        Records { log: self, next, until_ns: self.host().now_ns(), missed: 0 }
    }

    /// Returns the newest `N` of the kept records that `is_wanted` picks, of all CPUs, in the order of their times.
    /// Takes 32 bytes of stack for each of them, and a record's 256, so that a report can ask on any stack. A record
    /// that is overwritten meanwhile is left out.
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

impl<H: Host, S: Sink> Records<'_, H, S> {
    /// Goes on with the records logged until now.
    pub fn refresh(&mut self) {
        self.until_ns = self.log.host().now_ns();
    }

    /// Returns how many records were overwritten while this reader was on its way to them.
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// Returns the time of the next readable record of a ring; moves past those that are not.
    fn peek(&mut self, number: usize) -> Option<u64> {
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
                // Its writer was cut short, or found no room, which the ring counts by itself.
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
            let until_ns = self.until_ns;
            let times = self.log.ring_numbers().filter_map(|number| Some((self.peek(number)?, number)));
            let (_, number) = times.filter(|&(time_ns, _)| time_ns <= until_ns).min()?;
            let record = self.log.ring(number)?.read(self.next[number]);
            self.next[number] += 1;
            match record {
                Ok(record) => return Some(record),
                // Overwritten between the look at its time and now.
                Err(_) => self.missed += 1,
            }
        }
    }
}
