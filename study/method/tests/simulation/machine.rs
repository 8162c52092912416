//! A machine of which the truth is known: its noise, and the effects that are planted in it.

use std::cell::RefCell;

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Pareto, StandardNormal};
use rand_pcg::Pcg64Mcg;
use rhumb_method::{Arm, Plan, Trial, Watch};

/// The shape of the noise, on the scale of logarithms.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Noise {
    /// Each sample is off by 2 %, normally distributed.
    Calm,
    /// One sample in ten takes longer, by a share with a heavy tail; the rest is off by 1 %.
    Spikes,
    /// The machine becomes slower all the time, by 20 % in 100 samples, and each sample is off by 2 %.
    Drift,
    /// Each sample's error is nine tenths of the one before, and something new.
    Slow,
    /// The machine jumps between speeds that differ by 30 %, every 20 samples or so; each sample is off by 1 %.
    Steps,
}

impl Noise {
    pub(crate) const ALL: [Self; 5] = [Self::Calm, Self::Spikes, Self::Drift, Self::Slow, Self::Steps];
}

/// A machine that takes samples, one after the other.
pub(crate) struct Machine {
    random: Pcg64Mcg,
    noise: Noise,
    samples: f64,
    state: f64,
}

impl Machine {
    pub(crate) fn new(noise: Noise, seed: u64) -> Self {
        Self { random: Pcg64Mcg::seed_from_u64(seed), noise, samples: 0.0, state: 0.0 }
    }

    /// Takes a sample of work that takes `ratio` times as long as the baseline.
    pub(crate) fn sample(&mut self, ratio: f64) -> f64 {
        let normal: f64 = StandardNormal.sample(&mut self.random);
        self.samples += 1.0;
        let error = match self.noise {
            Noise::Calm => 0.02 * normal,
            Noise::Spikes if self.random.random_bool(0.1) => {
                Pareto::new(0.05f64, 1.2).expect("a distribution").sample(&mut self.random).ln_1p()
            }
            Noise::Spikes => 0.01 * normal,
            Noise::Drift => 0.02 * normal + 0.002 * self.samples,
            Noise::Slow => {
                self.state = 0.9 * self.state + 0.02 * normal;
                self.state
            }
            Noise::Steps => {
                if self.random.random_bool(0.05) {
                    self.state = 0.3 - self.state;
                }
                self.state + 0.01 * normal
            }
        };
        100.0 * ratio * error.exp()
    }
}

/// A user that waits.
pub(crate) struct Patient;

impl Watch for Patient {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn round(&self, _: u32, _: u32) {}
}

/// Runs a trial of arms that take `ratios` times as long as the baseline, on a machine of its own.
pub(crate) fn trial(noise: Noise, ratios: &[f64], plan: &Plan) -> Trial {
    let machine = RefCell::new(Machine::new(noise, plan.seed ^ 0x5eed));
    let machine = &machine;
    let mut arms: Vec<Arm<'_>> = [1.0]
        .iter()
        .chain(ratios)
        .map(|&ratio| Arm::new("arm", move || Ok(machine.borrow_mut().sample(ratio))))
        .collect();
    Trial::run(&mut arms, plan, &Patient).expect("samples")
}
