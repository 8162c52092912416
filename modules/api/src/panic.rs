//! A panic of the module stops the kernel: there is no unwinding, and a half-done change cannot be undone.

use core::panic::PanicInfo;

use rhumb_module_abi::types::Text;

use crate::imports;
use crate::text::Line;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let text = Line::<240>::of(info.message());
    let (file, line) = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
    // SAFETY: the texts live as long as the call, which does not return.
    match unsafe { imports::rhumb_panic(Text::lent(text.as_str()), Text::lent(file), line) } {}
}
