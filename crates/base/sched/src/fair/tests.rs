//! The fair class beside a plain model: a vector, searched whole, with virtual times that do not wrap.

use std::vec::Vec;

use proptest::prelude::*;

use super::{Fair, Request, virtual_of};
use crate::tests::world::{K, Rig};
use crate::{Limits, Nice, Policy, ThreadRef};

const SLICE_NS: u64 = 3_000_000;

#[derive(Clone, Copy, Debug)]
struct Row {
    thread: usize,
    weight: i128,
    virtual_ns: i128,
    deadline_ns: i128,
    eligible_ns: i128,
    has_begun: bool,
    residue: i128,
    /// When it was put among those that wait; `None` for the one that runs.
    turn: Option<i64>,
}

#[derive(Default)]
struct Model {
    rows: Vec<Row>,
    /// The mean when the last thread left.
    left_at_ns: i128,
    turns: i64,
}

impl Model {
    fn weight(&self) -> i128 {
        self.rows.iter().map(|row| row.weight).sum()
    }

    fn mean_ns(&self) -> i128 {
        let sum: i128 = self.rows.iter().map(|row| row.weight * row.virtual_ns).sum();
        if self.rows.is_empty() { self.left_at_ns } else { sum.div_euclid(self.weight()) }
    }

    fn enter(&mut self, thread: usize, weight: i128, lag_ns: i128, left_ns: i128) {
        let request_ns = i128::from(virtual_of(SLICE_NS, 0, weight as u64).0);
        let mut lag_ns = lag_ns.clamp(-2 * request_ns, 2 * request_ns);
        if !self.rows.is_empty() {
            lag_ns = lag_ns * (self.weight() + weight) / self.weight();
        }
        let virtual_ns = self.mean_ns() - lag_ns;
        let left_ns = if left_ns == 0 { request_ns } else { left_ns.min(request_ns) };
        self.turns += 1;
        let has_begun = left_ns < request_ns;
        let turn = Some(if has_begun { -self.turns } else { self.turns });
        self.rows.push(Row {
            thread,
            weight,
            virtual_ns,
            deadline_ns: virtual_ns + left_ns,
            eligible_ns: virtual_ns + left_ns - request_ns,
            has_begun,
            residue: 0,
            turn,
        });
    }

    /// Returns the lag and what is left of the request.
    fn leave(&mut self, thread: usize) -> (i128, i128) {
        let mean_ns = self.mean_ns();
        let index = self.rows.iter().position(|row| row.thread == thread).unwrap();
        let row = self.rows.remove(index);
        if self.rows.is_empty() {
            self.left_at_ns = mean_ns;
        }
        (mean_ns - row.virtual_ns, row.deadline_ns - row.virtual_ns)
    }

    fn running(&self) -> Option<usize> {
        self.rows.iter().find(|row| row.turn.is_none()).map(|row| row.thread)
    }

    fn charge(&mut self, ran_ns: i128) {
        let Some(row) = self.rows.iter_mut().find(|row| row.turn.is_none()) else { return };
        let scaled = ran_ns * 1024 + row.residue;
        row.virtual_ns += scaled / row.weight;
        row.residue = scaled % row.weight;
        if row.virtual_ns >= row.deadline_ns {
            row.deadline_ns = row.virtual_ns + i128::from(virtual_of(SLICE_NS, 0, row.weight as u64).0);
            (row.eligible_ns, row.has_begun) = (row.virtual_ns, false);
        }
    }

    /// Returns the thread to serve: of the eligible ones that with the earliest deadline, the one that runs before
    /// others if its request has begun and behind them otherwise, and others whose requests have begun before those
    /// that have waited longer.
    fn choice(&self) -> Option<usize> {
        let mean_ns = self.mean_ns();
        let eligible = self.rows.iter().filter(|row| row.eligible_ns <= mean_ns);
        let place = |row: &&Row| (row.deadline_ns, row.turn.is_none() && !row.has_begun, row.turn);
        eligible.min_by_key(place).map(|row| row.thread)
    }

    /// Makes `thread` the one that runs.
    fn run(&mut self, thread: Option<usize>) {
        for row in &mut self.rows {
            if Some(row.thread) == thread {
                (row.turn, row.has_begun) = (None, true);
            } else if row.turn.is_none() {
                self.turns += 1;
                row.turn = Some(if row.has_begun { -self.turns } else { self.turns });
            }
        }
    }
}

proptest! {
    #[test]
    fn the_class_does_as_its_model(
        nices in prop::collection::vec(-20i8..20, 8),
        steps in prop::collection::vec((0u8..4, 0usize..8, 1u64..6_000_000), 1..150),
    ) {
        let rig = Rig::new(1, 1, 0, Limits::USUAL);
        let threads: Vec<ThreadRef<K>> = nices
            .iter()
            .map(|&nice| rig.thread(Policy::Fair(Nice::new(nice).unwrap()), &rig.all()))
            .collect();
        for thread in &threads {
            thread.run.policy.set(u64::from(thread.policy().bits()));
        }
        let weight = |thread: usize| i128::from(Nice::new(nices[thread]).unwrap().weight());
        let mut fair = Fair::<K>::new();
        // Virtual time wraps soon.
        fair.zero_ns = 20_000_000u64.wrapping_neg();
        let mut model = Model { left_at_ns: i128::from(fair.zero_ns), ..Model::default() };
        let mut away = [(0, 0); 8];
        let mut running: Option<usize> = None;
        for (step, thread, ran_ns) in steps {
            let is_in = model.rows.iter().any(|row| row.thread == thread);
            match step {
                0 if !is_in => {
                    let (lag_ns, left_ns) = away[thread];
                    model.enter(thread, weight(thread), lag_ns, left_ns);
                    fair.enter(&threads[thread], SLICE_NS);
                    prop_assert!(fair.queue(&threads[thread]));
                }
                1 if is_in => {
                    let request = if ran_ns % 2 == 0 { Request::Kept } else { Request::Over };
                    let (lag_ns, left_ns) = model.leave(thread);
                    away[thread] = (lag_ns, if request == Request::Kept { left_ns } else { 0 });
                    prop_assert_eq!(fair.unqueue(&threads[thread]), running != Some(thread));
                    fair.leave(&threads[thread], request);
                    prop_assert_eq!(i128::from(threads[thread].run.lag_ns.get() as i64), lag_ns);
                    running = running.filter(|&running| running != thread);
                }
                _ => {
                    model.charge(i128::from(ran_ns));
                    if let Some(running) = running {
                        fair.charge(&threads[running], ran_ns, SLICE_NS);
                    }
                    let choice = fair.choice(running.map(|running| &*threads[running]));
                    let choice = choice.map(|chosen| threads.iter().position(|it| it.is(chosen)).unwrap());
                    let chosen = choice.or(running);
                    prop_assert_eq!(chosen, model.choice());
                    if chosen != running {
                        if let Some(running) = running {
                            prop_assert!(fair.queue(&threads[running]));
                        }
                        if let Some(chosen) = chosen {
                            prop_assert!(fair.unqueue(&threads[chosen]));
                        }
                        running = chosen;
                    }
                    if let Some(running) = running {
                        fair.begin(&threads[running]);
                    }
                    model.run(chosen);
                    prop_assert_eq!(running, model.running());
                }
            }
            fair.validate(running.map(|running| &*threads[running]));
            prop_assert_eq!(i128::from(fair.weight()), model.weight());
            prop_assert_eq!(fair.mean_ns(), model.mean_ns() as u64);
        }
        // No thread is freed while it is in a tree.
        for row in &model.rows {
            fair.unqueue(&threads[row.thread]);
        }
    }
}

/// However long a thread has run, it is charged without overflow, and its slice ends at a time that is not before now.
#[test]
fn long_times_do_not_overflow() {
    for weight in [Nice::LEAST.weight(), 1024, Nice::MOST.weight()] {
        let (virtual_ns, residue) = virtual_of(u64::MAX, weight - 1, weight);
        assert!(virtual_ns >= super::MOST_NS / weight && residue < weight);
        assert_eq!(virtual_of(1 << 40, 0, weight).0, (1 << 50) / weight);
        assert!(super::real_of(virtual_of(3_000_000, 0, weight).0, weight) <= 3_000_000);
        assert!(super::real_of(u64::MAX, weight) >= u64::MAX / 1024);
    }
}
