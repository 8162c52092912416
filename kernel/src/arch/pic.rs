//! The two 8259 interrupt controllers of the PC: moved out of the way and masked.
//!
//! The firmware leaves them on vectors 8 to 15, where they look like exceptions. Masked lines can still raise a
//! spurious interrupt (line 7 of each), so they move to vectors of their own first. Source: Intel 8259A data sheet.

use x86_64::instructions::port::Port;

const FIRST_VECTOR: u8 = 0x20;
const INITIALISE: u8 = 0x11;
const MODE_8086: u8 = 0x01;

/// Gives an old chip time to take a word: a write to the port of the firmware's progress codes takes a microsecond.
fn pause() {
    // SAFETY: the port does nothing but show a number.
    unsafe { Port::<u8>::new(0x80).write(0) };
}

/// Masks every line of both.
pub fn disable() {
    for (command, data, first_vector, cascade) in
        [(0x20, 0x21, FIRST_VECTOR, 4), (0xa0, 0xa1, FIRST_VECTOR + 8, 2)]
    {
        let (mut command, mut data) = (Port::<u8>::new(command), Port::<u8>::new(data));
        // SAFETY: the PIC's ports on every PC; the four initialisation words in their order, then the mask.
        unsafe {
            command.write(INITIALISE);
            pause();
            for word in [first_vector, cascade, MODE_8086, 0xff] {
                data.write(word);
                pause();
            }
        }
    }
}
