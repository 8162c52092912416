//! Two operations that undo each other: each is a region of its own, and the other one runs unmeasured.

use super::Operation;
use crate::facts::Boot;
use crate::lab::failure::Failure;

/// Something that is done and undone again and again.
pub trait Toggle: Sized {
    /// Takes all that both halves need; an error says why they cannot be measured on this machine.
    fn prepare(boot: &'static Boot) -> Result<Self, Failure>;

    /// Ahead of each run, whichever half is measured.
    fn before(&mut self) {}

    /// The first half.
    fn make(&mut self);

    /// Ahead of a second half that is measured.
    fn before_undo(&mut self) {}

    /// The second half.
    fn undo(&mut self);

    /// Leaves the kernel as it was; an error says that the runs did not do what they must.
    fn finish(self) -> Result<(), Failure>;
}

/// The operation that is the first half.
pub struct Make<T>(T);

impl<T: Toggle> Operation for Make<T> {
    fn prepare(boot: &'static Boot) -> Result<Self, Failure> {
        T::prepare(boot).map(Self)
    }

    fn before(&mut self) {
        self.0.before();
    }

    #[inline(always)]
    fn run(&mut self) {
        self.0.make();
    }

    fn after(&mut self) {
        self.0.undo();
    }

    fn finish(self) -> Result<(), Failure> {
        self.0.finish()
    }
}

/// The operation that is the second half.
pub struct Undo<T>(T);

impl<T: Toggle> Operation for Undo<T> {
    fn prepare(boot: &'static Boot) -> Result<Self, Failure> {
        T::prepare(boot).map(Self)
    }

    fn before(&mut self) {
        self.0.before();
        self.0.make();
        self.0.before_undo();
    }

    #[inline(always)]
    fn run(&mut self) {
        self.0.undo();
    }

    fn finish(self) -> Result<(), Failure> {
        self.0.finish()
    }
}
