//! [`Policy`]: how a thread is scheduled, and [`Urgency`], by which policies are compared.
//!
//! ```text
//!   urgency   0 ................ 39   40 ................. 103
//!             fair: nice 19 .. -20    real time: priority 0 .. 63
//! ```
//!
//! Real-time threads come before fair ones. Among real-time threads the priority decides; among fair ones the niceness
//! decides the share. 64 priorities are one word of a bitmap, so that the most urgent one is found by one instruction.

use core::fmt;

/// How nice a thread is to others: -20 to 19, as on Unix. One step is a factor of 1.25 in the share of the CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nice(i8);

impl Nice {
    /// The largest share.
    pub const LEAST: Self = Self(-20);
    /// The smallest share.
    pub const MOST: Self = Self(19);
    /// The share of a thread of which nothing else is known.
    pub const NORMAL: Self = Self(0);

    /// Returns this niceness, or `None` outside of -20..=19.
    pub const fn new(nice: i8) -> Option<Self> {
        if nice >= Self::LEAST.0 && nice <= Self::MOST.0 { Some(Self(nice)) } else { None }
    }

    /// Returns the number.
    pub const fn get(self) -> i8 {
        self.0
    }

    /// Returns the thread's weight: its share of a CPU is its weight by the sum of all weights there.
    pub const fn weight(self) -> u64 {
        WEIGHTS[(self.0 - Self::LEAST.0) as usize]
    }
}

/// The weight of [`Nice::NORMAL`], whose virtual time passes as fast as real time.
pub const NORMAL_WEIGHT: u64 = 1024;

/// The weights by niceness, the least nice first: 1024 * 1.25^-nice, rounded.
const WEIGHTS: [u64; 40] = {
    /// Binary places behind the point.
    const PLACES: u32 = 32;
    let mut weights = [0; 40];
    let (mut up, mut down) = ((NORMAL_WEIGHT as u128) << PLACES, (NORMAL_WEIGHT as u128) << PLACES);
    let mut step = 0;
    while step <= 20 {
        let half = 1 << (PLACES - 1);
        weights[20 - step] = ((up + half) >> PLACES) as u64;
        if step < 20 {
            weights[20 + step] = ((down + half) >> PLACES) as u64;
        }
        up = up * 5 / 4;
        down = down * 4 / 5;
        step += 1;
    }
    weights
};

/// A real-time priority: 0 to 63. The greater one is the more urgent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Priority(u8);

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 64;

    /// Returns this priority, or `None` above 63.
    pub const fn new(priority: u8) -> Option<Self> {
        if (priority as usize) < Self::COUNT { Some(Self(priority)) } else { None }
    }

    /// Returns the number.
    pub const fn get(self) -> u8 {
        self.0
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The order among real-time threads of one priority.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Turns {
    /// A thread runs until it blocks, yields, or is preempted by a more urgent one.
    Fifo,
    /// A thread that has run for [`Limits::round_robin_ns`](crate::Limits) goes behind those of its priority.
    RoundRobin,
}

/// How a thread is scheduled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Policy {
    /// Before all fair threads, by priority.
    RealTime(Priority, Turns),
    /// By shares.
    Fair(Nice),
}

impl Default for Policy {
    fn default() -> Self {
        Self::Fair(Nice::NORMAL)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RealTime(priority, Turns::Fifo) => write!(f, "fifo {}", priority.get()),
            Self::RealTime(priority, Turns::RoundRobin) => write!(f, "rr {}", priority.get()),
            Self::Fair(nice) => write!(f, "nice {}", nice.get()),
        }
    }
}

/// A number by which the policies of two threads are compared: the greater one goes first, or has the larger share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Urgency(u8);

impl Urgency {
    const FIRST_REAL_TIME: u8 = 40;

    /// Returns the number: 0 to 103.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Policy {
    const ROUND_ROBIN: u32 = 1 << 8;

    /// Returns how urgent it is.
    pub const fn urgency(self) -> Urgency {
        Urgency(match self {
            Self::RealTime(priority, _) => Urgency::FIRST_REAL_TIME + priority.get(),
            Self::Fair(nice) => (Nice::MOST.0 - nice.0) as u8,
        })
    }

    /// Returns a number by which CPUs compare what they run: 1 for all fair threads, more for each priority of real time.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Fair(_) => 1,
            Self::RealTime(priority, _) => priority.get() + 2,
        }
    }

    /// Returns the policy of a thread of policy `self` that works on behalf of one that is this urgent.
    pub(crate) const fn lifted_to(self, urgency: Urgency) -> Self {
        if urgency.0 <= self.urgency().0 { self } else { Self::from_bits(urgency.0 as u32) }
    }

    /// Returns the policy as a word.
    pub(crate) const fn bits(self) -> u32 {
        let turns = match self {
            Self::RealTime(_, Turns::RoundRobin) => Self::ROUND_ROBIN,
            _ => 0,
        };
        self.urgency().0 as u32 | turns
    }

    /// Returns the policy whose word it is.
    pub(crate) const fn from_bits(bits: u32) -> Self {
        let urgency = bits as u8;
        match urgency.checked_sub(Urgency::FIRST_REAL_TIME) {
            Some(priority) => {
                let turns = if bits & Self::ROUND_ROBIN != 0 { Turns::RoundRobin } else { Turns::Fifo };
                Self::RealTime(Priority(priority % Priority::COUNT as u8), turns)
            }
            None => Self::Fair(Nice(Nice::MOST.0 - urgency as i8)),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
