//! [`PixelFormat`]: from a colour to the bytes of a pixel.

use core::fmt;

/// Red, green and blue, each from 0 to 255.
pub type Rgb = [u8; 3];

/// The bits of a pixel that hold one colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Its lowest bit.
    pub shift: u8,
    /// How many bits it has.
    pub bits: u8,
}

impl Channel {
    /// Returns the bits of a pixel that are this channel's; `None` where it has none, or more than a pixel of
    /// `pixel_bits` has.
    fn mask(self, pixel_bits: u8) -> Option<u32> {
        let end = self.shift.checked_add(self.bits)?;
        if self.bits == 0 || self.bits > MAX_CHANNEL_BITS || end > pixel_bits {
            return None;
        }
        Some(((1 << self.bits) - 1) << self.shift)
    }

    /// Returns the bits of a pixel for this much of the colour.
    fn encode(self, value: u8) -> u32 {
        let most = (1 << self.bits) - 1;
        ((u32::from(value) * most + 127) / 255) << self.shift
    }
}

/// Some screens have ten bits for a colour; none is known with more.
const MAX_CHANNEL_BITS: u8 = 16;

/// The layout of a pixel: two, three or four bytes, lowest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PixelFormat {
    bytes: usize,
    channels: [Channel; 3],
}

impl PixelFormat {
    /// Returns the layout of a pixel of `bits` with these channels for red, green and blue.
    ///
    /// # Errors
    /// [`PixelError::Depth`] where a pixel has neither 15, 16, 24 nor 32 bits; [`PixelError::Channels`] where a channel
    /// is empty, reaches past the pixel, or lies over another.
    pub fn new(bits: u8, channels: [Channel; 3]) -> Result<Self, PixelError> {
        let bytes = match bits {
            15 | 16 => 2,
            24 => 3,
            32 => 4,
            _ => return Err(PixelError::Depth(bits)),
        };
        let mut used = 0;
        for channel in channels {
            let mask = channel.mask(bits).filter(|mask| mask & used == 0).ok_or(PixelError::Channels)?;
            used |= mask;
        }
        Ok(Self { bytes, channels })
    }

    /// Returns how many bytes a pixel has.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the pixel of a colour: its lowest bytes are the ones to write.
    pub fn encode(&self, colour: Rgb) -> u32 {
        self.channels.iter().zip(colour).fold(0, |pixel, (channel, value)| pixel | channel.encode(value))
    }
}

/// Why a pixel cannot have such a layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PixelError {
    /// It has this many bits.
    Depth(u8),
    /// A channel is empty, reaches past the pixel, or lies over another.
    Channels,
}

impl fmt::Display for PixelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth(bits) => write!(f, "pixels of {bits} bits, and not 15, 16, 24 or 32"),
            Self::Channels => {
                f.write_str("a colour has no bits in a pixel, or the bits of another, or bits past its end")
            }
        }
    }
}

impl core::error::Error for PixelError {}
