//! Controllers: whole, absent, dead, without a keyboard, with a mouse.

extern crate std;

use std::collections::VecDeque;
use std::vec::Vec;

use proptest::prelude::*;

use crate::controller::LOOKS;
use crate::{Absent, Controller, Ports};

/// An i8042 as software.
#[derive(Debug, Default)]
struct Fake {
    /// Bytes that wait, each with whether it is the mouse's.
    waiting: VecDeque<(u8, bool)>,
    configuration: u8,
    /// Which command the next data byte is for.
    wants: Option<u8>,
    commands: Vec<u8>,
    is_busy: bool,
    has_keyboard: bool,
    pauses: usize,
    /// Looks until an answer comes.
    answers_after: usize,
}

impl Ports for Fake {
    fn status(&mut self) -> u8 {
        let (waits, of_mouse) = match self.waiting.front() {
            Some(&(_, of_mouse)) if self.answers_after == 0 => (1, u8::from(of_mouse)),
            _ => (0, 0),
        };
        waits | u8::from(self.is_busy) << 1 | of_mouse << 5
    }

    fn read(&mut self) -> u8 {
        self.waiting.pop_front().map_or(0, |(byte, _)| byte)
    }

    fn write(&mut self, byte: u8) {
        match self.wants.take() {
            Some(0x60) => self.configuration = byte,
            Some(other) => panic!("command {other:#x} takes no data"),
            None if byte == 0xf4 && self.has_keyboard => self.waiting.push_back((0xfa, false)),
            None => {}
        }
    }

    fn command(&mut self, byte: u8) {
        self.commands.push(byte);
        match byte {
            0x20 => self.waiting.push_back((self.configuration, false)),
            0x60 => self.wants = Some(byte),
            _ => {}
        }
    }

    fn pause(&mut self) {
        self.pauses += 1;
        self.answers_after = self.answers_after.saturating_sub(1);
    }
}

fn pc() -> Fake {
    // As firmware leaves it: both interrupts on, the second port on.
    Fake { configuration: 0b0100_0011, has_keyboard: true, ..Fake::default() }
}

#[test]
fn a_pc() {
    let mut controller = Controller::start(pc()).unwrap();
    assert!(controller.has_keyboard());
    let fake = &controller.ports;
    assert_eq!(fake.configuration, 0b0110_0000, "no interrupts, second port off, translation on");
    assert_eq!(fake.commands, [0xad, 0xa7, 0x20, 0x60, 0xae]);
    controller.enable_interrupts();
    assert_eq!(controller.ports.configuration, 0b0110_0001);
    assert_eq!(controller.receive(), Some(0xfa), "the interrupt that proves that interrupts come");
    assert_eq!(controller.receive(), None);
}

#[test]
fn a_slow_pc_with_keys_in_its_buffer() {
    let waiting = [(0x1e, false), (0x9e, false), (0x08, true)].into();
    let controller = Controller::start(Fake { waiting, answers_after: LOOKS - 1, ..pc() }).unwrap();
    assert!(controller.has_keyboard());
    assert!(controller.ports.waiting.is_empty());
}

#[test]
fn no_controller() {
    struct Floating;
    impl Ports for Floating {
        fn status(&mut self) -> u8 {
            0xff
        }
        fn read(&mut self) -> u8 {
            0xff
        }
        fn write(&mut self, _: u8) {
            panic!("nothing is written to ports that no device drives");
        }
        fn command(&mut self, _: u8) {
            panic!("nothing is written to ports that no device drives");
        }
        fn pause(&mut self) {
            panic!("there is nothing to wait for");
        }
    }
    assert_eq!(Controller::start(Floating).err(), Some(Absent::NoController));
}

#[test]
fn dead_controllers_are_given_up() {
    let busy = Fake { is_busy: true, ..pc() };
    assert_eq!(Controller::start(busy).err(), Some(Absent::NoAnswer));
    let mute = Fake { answers_after: usize::MAX, ..pc() };
    assert_eq!(Controller::start(mute).err(), Some(Absent::NoAnswer));
    let babbling = Fake { waiting: (0..1000).map(|_| (0x1e, false)).collect(), ..pc() };
    assert_eq!(Controller::start(babbling).err(), Some(Absent::NoAnswer));
}

#[test]
fn without_a_keyboard_it_waits_once() {
    let mut controller = Controller::start(Fake { has_keyboard: false, ..pc() }).unwrap();
    assert!(!controller.has_keyboard());
    assert_eq!(controller.ports.pauses, LOOKS);
    controller.enable_interrupts();
    assert_eq!(controller.ports.configuration & 1, 1, "one that is plugged in later is heard");
}

#[test]
fn a_mouse_is_not_heard() {
    let mut controller = Controller::start(pc()).unwrap();
    controller.ports.waiting = [(0x08, true), (0x1e, false), (0x01, true)].into();
    assert_eq!(controller.receive(), Some(0x1e));
    assert_eq!(controller.receive(), None);
    controller.ports.waiting = (0..1000).map(|_| (0x08, true)).collect();
    assert_eq!(controller.receive(), None, "a mouse that never ends does not hold the kernel");
}

/// A controller that says anything.
struct Random<'a> {
    bytes: core::iter::Cycle<core::slice::Iter<'a, u8>>,
    steps: usize,
}

impl Ports for Random<'_> {
    fn status(&mut self) -> u8 {
        self.steps += 1;
        *self.bytes.next().unwrap()
    }
    fn read(&mut self) -> u8 {
        *self.bytes.next().unwrap()
    }
    fn write(&mut self, _: u8) {}
    fn command(&mut self, _: u8) {}
    fn pause(&mut self) {}
}

proptest! {
    #[test]
    fn whatever_it_says_the_set_up_ends(bytes in prop::collection::vec(any::<u8>(), 1..50)) {
        let ports = Random { bytes: bytes.iter().cycle(), steps: 0 };
        if let Ok(mut controller) = Controller::start(ports) {
            controller.enable_interrupts();
            controller.receive();
            prop_assert!(controller.ports.steps < 200 * LOOKS);
        }
    }
}
