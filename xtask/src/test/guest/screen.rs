//! Machines with a screen and a keyboard: keys are sent, and the screen is compared pixel by pixel.
//!
//! QEMU's monitor presses the keys and dumps the screen. The expected picture is computed: the text that came on the
//! serial line since the screen was last cleared, drawn by the crate that the kernel draws with, in the same mode. A
//! machine without a serial line must show a text that is known beforehand. The screen is looked at until it is right
//! or the case's time is over, so that no test depends on how fast the machine draws.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rhumb_machine::PhysAddr;
use rhumb_screen::{Channel, Description, Mode, Progress, Screen, VideoMemory};

use crate::test::case::{ScreenTest, Seen};

/// The line editor's answer to Ctrl-L.
const CLEARED: &str = "\x1b[H\x1b[2J";
const PROMPT: &str = "rhumb> ";
/// An empty prompt, as the line editor writes it.
const EMPTY: &str = "\rrhumb> \x1b[K\r\x1b[7C";
/// How often to look at what has not come yet.
const PAUSE: Duration = Duration::from_millis(200);
/// How often to look at a screen that may be waiting for a key.
const LONG_PAUSE: Duration = Duration::from_secs(2);

/// The other side of a running machine.
pub(super) struct Bench<'a> {
    pub(super) test: &'a ScreenTest,
    /// The socket of QEMU's monitor.
    pub(super) monitor: &'a Path,
    /// Where a picture of the screen may be written.
    pub(super) picture: &'a Path,
    /// All that came on the serial line so far.
    pub(super) output: &'a Mutex<Vec<u8>>,
    pub(super) deadline: Instant,
}

impl Bench<'_> {
    /// Types the lines of the test and checks the screen after each; ends the machine.
    ///
    /// # Errors
    /// The screen or the serial line does not show what it must, in time; QEMU's monitor is gone.
    pub(super) fn run(&self) -> Result<()> {
        let mut monitor = Monitor::connect(self.monitor, self.deadline)?;
        let outcome = self.try_run(&mut monitor);
        if outcome.is_err() || self.test.ends == Seen::Halted {
            // The machine may have ended already.
            let _ = writeln!(monitor.0, "quit");
        }
        outcome
    }

    fn try_run(&self, monitor: &mut Monitor) -> Result<()> {
        if self.test.answer.is_none() {
            self.wait_for("the prompt", |output| output.ends_with(EMPTY))?;
            self.check_mode()?;
        }
        self.clear(monitor)?;
        // The line editor writes its row anew after a carriage return alone.
        let next = format!("\n{EMPTY}");
        for line in self.test.lines {
            let before = self.text().len();
            line.split(' ').try_for_each(|key| monitor.command(&format!("sendkey {key}")))?;
            if self.test.answer.is_none() {
                let end = if self.test.ends == Seen::Halted { "the machine stops here\r\n" } else { &next };
                self.wait_for(line, |output| output.len() > before && output.ends_with(end))?;
            }
            self.compare(monitor)?;
        }
        if self.test.ends == Seen::Prompt {
            "p o w e r o f f ret"
                .split(' ')
                .try_for_each(|key| monitor.command(&format!("sendkey {key}")))?;
        }
        Ok(())
    }

    /// Checks that GRUB has set the mode that the test wants: the kernel's log tells it.
    fn check_mode(&self) -> Result<()> {
        let Some((size, bits)) = self.test.graphics.rsplit_once('x') else { return Ok(()) };
        let wanted = format!("screen: {size} pixels of {bits} bits");
        ensure!(self.text().contains(&wanted), "the log does not have: {wanted}");
        Ok(())
    }

    /// Has the line editor clear the screen. Without a serial line the key is pressed until it has worked, because only
    /// the screen tells when the kernel listens.
    fn clear(&self, monitor: &mut Monitor) -> Result<()> {
        if self.test.answer.is_none() {
            monitor.command("sendkey ctrl-l")?;
            return self.wait_for("the screen to be cleared", |output| {
                output.ends_with(&format!("{CLEARED}{EMPTY}"))
            });
        }
        loop {
            monitor.command("sendkey ctrl-l")?;
            sleep(LONG_PAUSE);
            let shown = Picture::take(monitor, self.picture)?;
            if shown.differs_from(PROMPT, self.test.pixel_bits).is_none() {
                return Ok(());
            }
            ensure!(Instant::now() < self.deadline, "the screen never showed an empty prompt");
        }
    }

    /// Compares the screen with the text that it must show, until they are alike.
    fn compare(&self, monitor: &mut Monitor) -> Result<()> {
        loop {
            let text = self.text();
            let wanted = match self.test.answer {
                Some(answer) => answer,
                None => text.rsplit(CLEARED).next().unwrap_or_default(),
            };
            let shown = Picture::take(monitor, self.picture)?;
            let Some(difference) = shown.differs_from(wanted, self.test.pixel_bits) else {
                return Ok(());
            };
            if Instant::now() >= self.deadline {
                let (width, height) = (shown.width, shown.height);
                bail!("the screen of {width}x{height} pixels is not what it must be: {difference}");
            }
            sleep(PAUSE);
        }
    }

    fn text(&self) -> String {
        let output = self.output.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        String::from_utf8_lossy(&output).into_owned()
    }

    fn wait_for(&self, what: &str, is_there: impl Fn(&str) -> bool) -> Result<()> {
        while !is_there(&self.text()) {
            ensure!(Instant::now() < self.deadline, "the serial line waited in vain for: {what}");
            sleep(PAUSE);
        }
        Ok(())
    }
}

/// QEMU's monitor.
struct Monitor(UnixStream);

impl Monitor {
    fn connect(socket: &Path, deadline: Instant) -> Result<Self> {
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => {
                    stream
                        .set_read_timeout(Some(deadline.saturating_duration_since(Instant::now()) + PAUSE))?;
                    let mut monitor = Self(stream);
                    monitor.wait()?;
                    return Ok(monitor);
                }
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).context("QEMU's monitor cannot be reached");
                }
                Err(_) => sleep(PAUSE),
            }
        }
    }

    /// Gives a command and waits until it is done.
    fn command(&mut self, command: &str) -> Result<()> {
        writeln!(self.0, "{command}").context("QEMU's monitor is gone")?;
        self.wait()
    }

    /// Reads up to the monitor's prompt.
    fn wait(&mut self) -> Result<()> {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"(qemu) ") {
            self.0.read_exact(&mut byte).context("QEMU's monitor does not answer")?;
            seen.extend(byte);
        }
        Ok(())
    }
}

/// A dump of the screen: three bytes for a pixel.
struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn take(monitor: &mut Monitor, file: &Path) -> Result<Self> {
        monitor.command(&format!("screendump \"{}\"", file.display()))?;
        let bytes = fs::read(file).context("QEMU has dumped no screen")?;
        Self::parse(&bytes).context("QEMU's dump of the screen is no PPM file")
    }

    /// Reads the binary form of PPM: `P6`, width, height and 255, then the pixels.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(b"P6")?;
        let mut numbers = [0; 3];
        for number in &mut numbers {
            rest = rest.trim_ascii_start();
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            *number = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
            rest = &rest[digits..];
        }
        let [width, height, 255] = numbers else { return None };
        let pixels = rest.get(1..)?.to_vec();
        (pixels.len() == width * height * 3).then_some(Self { width, height, pixels })
    }

    /// Returns the first difference between the dump and a screen on which `text` was written.
    fn differs_from(&self, text: &str, pixel_bits: u8) -> Option<String> {
        let expected = match render(text, self.width as u32, self.height as u32, pixel_bits) {
            Ok(expected) => expected,
            Err(error) => return Some(error.to_string()),
        };
        let pairs = self.pixels.chunks(3).zip(expected.chunks(3)).enumerate();
        let mut different = pairs.filter(|(_, (shown, wanted))| shown != wanted);
        let (index, (shown, wanted)) = different.next()?;
        let (x, y) = (index % self.width, index / self.width);
        let more = different.count();
        Some(format!("pixel {x},{y} is {shown:02x?} and not {wanted:02x?}, and {more} more differ"))
    }
}

/// The channels of a pixel, as QEMU's graphics cards and the firmware of PCs have them.
fn channels(pixel_bits: u8) -> [Channel; 3] {
    let channels = match pixel_bits {
        16 => [(11, 5), (5, 6), (0, 5)],
        _ => [(16, 8), (8, 8), (0, 8)],
    };
    channels.map(|(shift, bits)| Channel { shift, bits })
}

/// Returns the pixels of a screen on which `text` was written, three bytes for each.
fn render(text: &str, width: u32, height: u32, pixel_bits: u8) -> Result<Vec<u8>> {
    struct Memory(Vec<u8>);
    impl VideoMemory for Memory {
        fn write(&mut self, offset: usize, bytes: &[u8]) {
            self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }
    let bytes = usize::from(pixel_bits).div_ceil(8);
    let channels = channels(pixel_bits);
    let description = Description {
        address: PhysAddr::new(1 << 32),
        pitch_bytes: width * bytes as u32,
        width,
        height,
        bits_per_pixel: pixel_bits,
        channels,
    };
    let mode = Mode::new(&description, [])?;
    let mut memory = Memory(vec![0; mode.memory().bytes() as usize]);
    let mut screen = Box::new(Screen::new());
    screen.set_mode(mode);
    screen.write(text);
    while screen.draw(&mut memory) == Progress::More {}
    let pixels = memory.0.chunks(bytes);
    let values = pixels.map(|pixel| pixel.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)));
    Ok(values.flat_map(|value| channels.map(|channel| widened(value, channel))).collect())
}

/// Returns a channel's part of a pixel with eight bits: its own, repeated.
fn widened(pixel: u32, Channel { shift, bits }: Channel) -> u8 {
    let value = pixel >> shift & ((1 << bits) - 1);
    let high = value << (8 - bits);
    (high | high >> bits) as u8
}

#[cfg(test)]
mod tests;
