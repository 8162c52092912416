//! [`Mode`]: a framebuffer that can be drawn on.
//!
//! A loader's description may be wrong in any way, and writing where it points would then overwrite RAM or fault. So
//! a [`Mode`] is made from a [`Description`] in one place, [`Mode::new`], and proves:
//! - its bytes lie below 2^52, where physical addresses end, none of them is RAM, and none is at the addresses of
//!   [`REGISTERS`];
//! - row `y` is the bytes from `y * pitch` on, and every pixel of it lies inside the bytes;
//! - a pixel has two, three or four bytes, and its channels do not overlap.

use core::fmt;

use rhumb_machine::{PhysAddr, PhysRange};

use crate::font::Font;
use crate::pixel::{Channel, PixelError, PixelFormat};

/// The smallest screen that is used: 320x200, some 45 columns and 12 rows.
pub const LEAST: (u32, u32) = (320, 200);
/// No screen is wider or higher. 8K is half as much.
pub const MOST_PIXELS: u32 = 16_384;
/// The longest framebuffer: an 8K screen with 32-bit pixels has half as much.
pub const MOST_BYTES: u64 = 256 << 20;
/// Where PCs have the registers of interrupt controllers and timers, and the firmware's flash memory: 20 MiB below 4
/// GiB. No screen is there, and a kernel draws before it knows the registers of its machine.
pub const REGISTERS: PhysRange = match PhysRange::new(PhysAddr::new(0xfec0_0000), PhysAddr::new(1 << 32)) {
    Some(range) => range,
    None => panic!("the range ends before it begins"),
};
/// Physical addresses end here.
const ADDRESSES_END: u64 = 1 << 52;

/// A framebuffer, as a loader describes it: any numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Description {
    /// The physical address of the first pixel.
    pub address: PhysAddr,
    /// Bytes from one row of pixels to the next.
    pub pitch_bytes: u32,
    /// Pixels in a row.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Bits of a pixel.
    pub bits_per_pixel: u8,
    /// Red, green and blue in a pixel.
    pub channels: [Channel; 3],
}

/// A framebuffer that can be drawn on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode {
    memory: PhysRange,
    pitch: usize,
    width: usize,
    height: usize,
    format: PixelFormat,
}

impl Mode {
    /// Checks `description` against itself and against `ram`, all RAM of the machine.
    ///
    /// # Errors
    /// [`ModeError`]: the first thing that is wrong.
    pub fn new(
        description: &Description,
        ram: impl IntoIterator<Item = PhysRange>,
    ) -> Result<Self, ModeError> {
        let &Description { address, pitch_bytes, width, height, bits_per_pixel, channels } = description;
        let format = PixelFormat::new(bits_per_pixel, channels).map_err(ModeError::Pixel)?;
        let (least_width, least_height) = LEAST;
        let fits =
            (least_width..=MOST_PIXELS).contains(&width) && (least_height..=MOST_PIXELS).contains(&height);
        if !fits {
            return Err(ModeError::Size(width, height));
        }
        let least_pitch = u64::from(width) * format.bytes() as u64;
        if u64::from(pitch_bytes) < least_pitch {
            return Err(ModeError::Pitch(pitch_bytes));
        }
        // Both factors have 32 bits, so the product does not overflow. The last row may end with its last pixel.
        let bytes = u64::from(pitch_bytes) * u64::from(height - 1) + least_pitch;
        if bytes > MOST_BYTES {
            return Err(ModeError::Bytes(bytes));
        }
        let memory = PhysRange::of_length(address, bytes)
            .filter(|memory| memory.start().get() > 0 && memory.end().get() <= ADDRESSES_END)
            .ok_or(ModeError::Address(address))?;
        if memory.overlaps(REGISTERS) {
            return Err(ModeError::Registers(memory));
        }
        if let Some(ram) = ram.into_iter().find(|ram| ram.overlaps(memory)) {
            return Err(ModeError::Ram(memory, ram));
        }
        Ok(Self {
            memory,
            pitch: pitch_bytes as usize,
            width: width as usize,
            height: height as usize,
            format,
        })
    }

    /// Returns its bytes. They need not begin or end at a page.
    pub const fn memory(&self) -> PhysRange {
        self.memory
    }

    /// Returns bytes from one row of pixels to the next.
    pub const fn pitch(&self) -> usize {
        self.pitch
    }

    /// Returns pixels in a row.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Returns rows of pixels.
    pub const fn height(&self) -> usize {
        self.height
    }

    /// Returns the layout of a pixel.
    pub const fn format(&self) -> PixelFormat {
        self.format
    }

    /// Returns the font for its height.
    pub const fn font(&self) -> Font {
        Font::for_height(self.height)
    }

    /// Returns the bytes of the pixels that can be seen in one row.
    pub(crate) const fn row_bytes(&self) -> usize {
        self.width * self.format.bytes()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} pixels of {} bits", self.width, self.height, self.format.bytes() * 8)
    }
}

/// Why a framebuffer cannot be drawn on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModeError {
    /// Its pixels have no layout that can be written.
    Pixel(PixelError),
    /// It is too small or too large: width and height.
    Size(u32, u32),
    /// A row has fewer bytes than its pixels.
    Pitch(u32),
    /// It is this many bytes long, too many.
    Bytes(u64),
    /// It begins at address 0, or ends past the end of physical addresses.
    Address(PhysAddr),
    /// The memory that it names lies over [`REGISTERS`].
    Registers(PhysRange),
    /// The memory that it names lies over RAM.
    Ram(PhysRange, PhysRange),
}

impl fmt::Display for ModeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixel(error) => error.fmt(f),
            Self::Size(width, height) => {
                let (least_width, least_height) = LEAST;
                write!(
                    f,
                    "{width}x{height} pixels, and not {least_width}x{least_height} to {MOST_PIXELS}x{MOST_PIXELS}"
                )
            }
            Self::Pitch(bytes) => write!(f, "rows of {bytes} bytes, too few for their pixels"),
            Self::Bytes(bytes) => {
                write!(f, "{bytes} bytes, more than the {MOST_BYTES} of the largest screen")
            }
            Self::Address(at) => write!(f, "no memory of that length begins at {at}"),
            Self::Registers(memory) => write!(f, "{memory} lies over the registers at {REGISTERS}"),
            Self::Ram(memory, ram) => write!(f, "{memory} lies over RAM at {ram}"),
        }
    }
}

impl core::error::Error for ModeError {}
