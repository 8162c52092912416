//! Descriptions of framebuffers that a loader may give.

extern crate std;

use std::string::ToString;

use proptest::prelude::*;
use rhumb_machine::{PhysAddr, PhysRange};

use super::{channel, description};
use crate::mode::MOST_BYTES;
use crate::{Description, Mode, ModeError, PixelError};

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)).unwrap()
}

fn error(description: Description) -> ModeError {
    Mode::new(&description, []).unwrap_err()
}

#[test]
fn sizes_from_640x480_to_4k() {
    for (width, height) in [(640, 480), (800, 600), (1024, 768), (1366, 768), (1920, 1080), (3840, 2160)] {
        let mode = Mode::new(&description(width, height), []).unwrap();
        assert_eq!((mode.width(), mode.height()), (width as usize, height as usize));
        assert_eq!(mode.memory(), range(0xc000_0000, 0xc000_0000 + u64::from(width * height * 4)));
        let font = mode.font();
        assert!(mode.width() / font.width() >= 80, "{width}x{height}");
        assert!((24..=70).contains(&(mode.height() / font.height())), "{width}x{height}");
    }
}

#[test]
fn the_last_row_may_end_with_its_last_pixel() {
    let wide = Description { pitch_bytes: 10_000, ..description(640, 480) };
    let mode = Mode::new(&wide, []).unwrap();
    assert_eq!(mode.memory().bytes(), 479 * 10_000 + 640 * 4);
}

#[test]
fn wrong_descriptions_are_refused() {
    let good = description(640, 480);
    for bits in [0, 1, 8, 14, 17, 25, 31, 33, 255] {
        assert_eq!(
            error(Description { bits_per_pixel: bits, ..good }),
            ModeError::Pixel(PixelError::Depth(bits))
        );
    }
    for channels in [
        [channel(16, 8), channel(8, 8), channel(0, 0)],
        [channel(16, 8), channel(8, 8), channel(0, 9)],
        [channel(16, 8), channel(8, 8), channel(25, 8)],
        [channel(16, 8), channel(255, 8), channel(0, 8)],
        [channel(31, 255), channel(8, 8), channel(0, 8)],
        [channel(0, 32), channel(8, 8), channel(0, 8)],
    ] {
        assert_eq!(
            error(Description { channels, ..good }),
            ModeError::Pixel(PixelError::Channels),
            "{channels:?}"
        );
    }
    for (width, height) in [(0, 480), (640, 0), (319, 200), (320, 199), (16_385, 480), (640, u32::MAX)] {
        let size = Description { width, height, pitch_bytes: u32::MAX, ..good };
        assert_eq!(error(size), ModeError::Size(width, height));
    }
    for pitch_bytes in [0, 640, 640 * 4 - 1] {
        assert_eq!(error(Description { pitch_bytes, ..good }), ModeError::Pitch(pitch_bytes));
    }
    let long = u64::from(u32::MAX) * 479 + 640 * 4;
    assert_eq!(error(Description { pitch_bytes: u32::MAX, ..good }), ModeError::Bytes(long));
    for address in [0, (1 << 52) - 640 * 480 * 4 + 1, 1 << 52, u64::MAX - 1000, u64::MAX] {
        let address = PhysAddr::new(address);
        assert_eq!(error(Description { address, ..good }), ModeError::Address(address));
    }
    let last = PhysAddr::new((1 << 52) - 640 * 480 * 4);
    assert!(Mode::new(&Description { address: last, ..good }, []).is_ok());
}

#[test]
fn ram_is_never_video_memory() {
    let good = description(640, 480);
    let (start, end) = (0xc000_0000, 0xc000_0000 + 640 * 480 * 4);
    let beside = [range(0, start), range(end, end + 0x1000)];
    assert!(Mode::new(&good, beside).is_ok());
    for ram in
        [range(0, start + 1), range(end - 1, end), range(start + 4096, start + 8192), range(0, 1 << 40)]
    {
        let error = Mode::new(&good, [range(0, 0x1000), ram]).unwrap_err();
        assert_eq!(error, ModeError::Ram(range(start, end), ram));
        assert!(error.to_string().contains("lies over RAM"));
    }
}

#[test]
fn registers_are_never_video_memory() {
    let at = |address| Description { address: PhysAddr::new(address), ..description(640, 480) };
    let bytes = 640 * 480 * 4;
    for address in [0xfec0_0000 - bytes, 1 << 32] {
        assert!(Mode::new(&at(address), []).is_ok(), "{address:#x}");
    }
    for address in [0xfec0_0000 - bytes + 1, 0xfec0_0000, 0xfed0_0000, 0xfee0_0000, 0xff00_0000, 0xffff_ffff]
    {
        let error = error(at(address));
        assert_eq!(error, ModeError::Registers(range(address, address + bytes)));
        assert!(error.to_string().contains("lies over the registers"));
    }
}

proptest! {
    #[test]
    fn any_numbers_give_a_sound_mode_or_an_error(
        address in any::<u64>(),
        pitch_bytes in any::<u32>(),
        width in prop_oneof![0..2000u32, any::<u32>()],
        height in prop_oneof![0..2000u32, any::<u32>()],
        bits_per_pixel in prop_oneof![Just(16), Just(24), Just(32), any::<u8>()],
        channels in prop::array::uniform3((any::<u8>(), 0..12u8)),
    ) {
        let channels = channels.map(|(shift, bits)| channel(shift % 40, bits));
        let address = PhysAddr::new(address >> 12);
        let description = Description { address, pitch_bytes, width, height, bits_per_pixel, channels };
        if let Ok(mode) = Mode::new(&description, []) {
            let last_row = (mode.height() - 1) * mode.pitch();
            let end = last_row + mode.width() * mode.format().bytes();
            prop_assert_eq!(mode.memory().bytes(), end as u64);
            prop_assert!(mode.memory().bytes() <= MOST_BYTES && mode.memory().end().get() <= 1 << 52);
        }
    }
}
