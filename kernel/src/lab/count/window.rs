//! Windows onto frames that the direct map does not show: opened and closed, with and without the local flush of a
//! wrap, and 4 KiB through one.

use rhumb_frames::{Frame, Unmapped};
use rhumb_machine::{Machine, Order, PinGuard};
use rhumb_windows::RING;

use super::Operation;
use super::refusals::Refusals;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::facts::Boot;
use crate::lab::failure::Failure;
use crate::lab::owners;
use crate::mm::unmapped::{self, give, take};
use crate::mm::window_tables::KernelWindows;
use crate::mm::windows::windows;

regions! {
    168: Through<Pair>, "window/pair", "open a window and close it";
    169: Through<Wrap>, "window/wrap", "open a window when all are spent, which flushes this CPU, and close it";
    170: Through<CopyTo>, "window/copy_to/4k", "copy 4 KiB into a frame through a window";
    171: Through<CopyFrom>, "window/copy_from/4k", "copy 4 KiB out of a frame through a window";
    172: Through<Zero>, "window/zero/4k", "zero a 4-KiB frame through a window";
}

fn the_windows() -> Result<&'static KernelWindows, Failure> {
    windows().ok_or_else(|| Failure::because("there are no windows"))
}

/// Opens windows onto `frame` until this CPU has flushed and begun anew: then the next is the second of its slots.
pub fn wrap(frame: &mut Frame<Unmapped>) -> Result<(), Failure> {
    // On one CPU: each has slots of its own.
    let _guard = MACHINE.pin();
    let windows = the_windows()?;
    let before = windows.counters().wraps;
    while windows.counters().wraps == before {
        windows.with_page(frame, 0, |_| ()).map_err(Failure::because)?;
    }
    Ok(())
}

/// A frame, windows, and a page of memory.
pub struct Setting {
    guard: PinGuard<'static, KernelMachine>,
    windows: &'static KernelWindows,
    frame: Frame<Unmapped>,
    page: [u8; 4096],
    refusals: Refusals,
}

/// The operation.
pub trait Act {
    /// How often one run flushes this CPU.
    const WRAPS: u64 = 0;

    /// Prepares one run.
    fn before(setting: &mut Setting) {
        // So that each run uses the same window.
        setting.refusals.note(&wrap(&mut setting.frame));
    }

    fn act(setting: &mut Setting);
}

pub struct Pair;

impl Act for Pair {
    #[inline(always)]
    fn act(Setting { windows, frame, refusals, .. }: &mut Setting) {
        refusals.note(&windows.with_page(frame, 0, |_| ()));
    }
}

pub struct Wrap;

impl Act for Wrap {
    const WRAPS: u64 = 1;

    fn before(setting: &mut Setting) {
        // The wrap itself opens one.
        setting.refusals.note(&wrap(&mut setting.frame));
        (1..RING).for_each(|_| Pair::act(setting));
    }

    #[inline(always)]
    fn act(setting: &mut Setting) {
        Pair::act(setting);
    }
}

pub struct CopyTo;

impl Act for CopyTo {
    #[inline(always)]
    fn act(Setting { windows, frame, page, refusals, .. }: &mut Setting) {
        refusals.note(&windows.copy_to(frame, 0, page));
    }
}

pub struct CopyFrom;

impl Act for CopyFrom {
    #[inline(always)]
    fn act(Setting { windows, frame, page, refusals, .. }: &mut Setting) {
        refusals.note(&windows.copy_from(frame, 0, page));
    }
}

pub struct Zero;

impl Act for Zero {
    #[inline(always)]
    fn act(Setting { windows, frame, refusals, .. }: &mut Setting) {
        refusals.note(&windows.zero(frame));
    }
}

/// One of these acts.
struct Through<A> {
    setting: Setting,
    wraps: u64,
    _act: core::marker::PhantomData<A>,
}

impl<A: Act> Operation for Through<A> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let frame = take(owners::COUNT, Order::BASE).map_err(Failure::because)?;
        let windows = the_windows()?;
        let setting =
            Setting { guard: MACHINE.pin(), windows, frame, page: [0x5a; 4096], refusals: Refusals::NONE };
        Ok(Self { setting, wraps: windows.counters().wraps, _act: core::marker::PhantomData })
    }

    fn before(&mut self) {
        A::before(&mut self.setting);
        self.wraps = self.setting.windows.counters().wraps;
    }

    #[inline(always)]
    fn run(&mut self) {
        A::act(&mut self.setting);
    }

    fn after(&mut self) {
        let wraps = self.setting.windows.counters().wraps - self.wraps;
        self.setting.refusals.add(u32::from(wraps != A::WRAPS));
    }

    fn finish(self) -> Result<(), Failure> {
        let Setting { guard, frame, refusals, .. } = self.setting;
        drop(guard);
        give(frame).map_err(|refused| Failure::because(refused.error))?;
        unmapped::shrink();
        refusals.must_be_none()
    }
}
