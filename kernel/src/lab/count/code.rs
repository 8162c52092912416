//! Executable memory: a small function that comes and goes in a block that others share.

use rhumb_code::{CodePool, Kind, Part, Request, Write};

use super::refusals::Refusals;
use super::toggle::{Make, Toggle, Undo};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::owners;
use crate::mm::code::{self, KernelHome};

regions! {
    176: Make<Function>, "code/publish", "allocate and write a function of 64 bytes in a block with others";
    177: Undo<Function>, "code/free", "free it: its bytes trap again, on every CPU";
}

/// A function of a block of which another part stays.
struct Function {
    pool: &'static CodePool<KernelHome>,
    other: Part,
    part: Option<Part>,
    refusals: Refusals,
}

fn request() -> Request {
    Request::new(Kind::Code, 64).owner(owners::COUNT.in_frames()).named("count")
}

impl Toggle for Function {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let pool = code::pool().ok_or_else(|| Failure::because("there is no executable memory"))?;
        let other = pool.allocate(request()).map_err(Failure::because)?;
        Ok(Self { pool, other, part: None, refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn make(&mut self) {
        match self.pool.allocate(request()) {
            Ok(mut part) => {
                let written = self.pool.write(&mut [Write { part: &mut part, bytes: &[0xc3; 64] }]);
                self.refusals.note(&written);
                self.part = Some(part);
            }
            Err(_) => self.refusals.add(1),
        }
    }

    #[inline(always)]
    fn undo(&mut self) {
        match self.part.take().map(|part| self.pool.free([part])) {
            Some(Ok(())) => {}
            _ => self.refusals.add(1),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let freed = self.pool.free([self.other]);
        ensure!(freed.is_ok(), "the other part is not the pool's");
        self.refusals.must_be_none()
    }
}
