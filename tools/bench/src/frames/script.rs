//! The frees and requests of a churn of mixed orders, written down before the clock starts. It depends on no address,
//! so each subject gets the same.

use rhumb_machine::Order;

use crate::stats::Random;

/// How often each order is asked for: 3^9 times (2/3)^order.
const ORDER_WEIGHTS: [usize; 10] = [19683, 13122, 8748, 5832, 3888, 2592, 1728, 1152, 768, 512];

/// Something that the script does with a slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Get(Order),
    Put(Order),
}

/// The operations of one CPU: first the fill, then the churn.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) fill: Vec<(u32, Step)>,
    pub(super) churn: Vec<(u32, Step)>,
    /// Slots that hold a block at the end.
    pub(super) live: Vec<(u32, Order)>,
    pub(super) slots: usize,
}

/// Writes a script: the state of a CPU's share, without addresses.
struct Writer {
    random: Random,
    target_frames: u64,
    live_frames: u64,
    live: Vec<(u32, Order)>,
    unused: Vec<u32>,
    slots: u32,
}

impl Writer {
    fn random_order(&mut self) -> Order {
        let mut draw = self.random.below(ORDER_WEIGHTS.iter().sum());
        let order = ORDER_WEIGHTS.iter().position(|&weight| {
            let found = draw < weight;
            draw = draw.wrapping_sub(weight);
            found
        });
        order.and_then(|order| Order::new(order as u8)).unwrap_or(Order::BASE)
    }

    fn get(&mut self, order: Order) -> (u32, Step) {
        let slot = self.unused.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        self.live.push((slot, order));
        self.live_frames += order.frames();
        (slot, Step::Get(order))
    }

    fn put(&mut self) -> (u32, Step) {
        let victim = self.random.below(self.live.len());
        let (slot, order) = self.live.swap_remove(victim);
        self.unused.push(slot);
        self.live_frames -= order.frames();
        (slot, Step::Put(order))
    }

    fn write(mut self, steps: usize) -> Script {
        let mut script = Script::default();
        while self.live_frames < self.target_frames {
            let order = self.random_order();
            if self.live_frames + order.frames() <= self.target_frames {
                script.fill.push(self.get(order));
            }
        }
        while script.churn.len() < steps {
            let order = self.random_order();
            while self.live_frames + order.frames() > self.target_frames {
                script.churn.push(self.put());
            }
            script.churn.push(self.get(order));
        }
        script.live = self.live;
        script.slots = self.slots as usize;
        script
    }
}

impl Script {
    /// For one CPU: up to `target_frames` live, then `steps` of churn.
    pub(super) fn new(seed: u64, target_frames: u64, steps: usize) -> Self {
        let writer = Writer {
            random: Random::new(seed),
            target_frames,
            live_frames: 0,
            live: Vec::new(),
            unused: Vec::new(),
            slots: 0,
        };
        writer.write(steps)
    }
}

#[cfg(test)]
mod tests;
