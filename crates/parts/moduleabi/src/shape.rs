//! [`Shape`]: a number for a type's name and layout.

use core::mem::{align_of, size_of};

/// The hash of nothing (FNV-1a, 64 bits).
pub const START: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x100_0000_01b3;

/// Returns `hash` with these bytes added.
pub const fn add(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(PRIME);
        at += 1;
    }
    hash
}

/// Returns `hash` with a number added.
pub const fn add_number(hash: u64, number: u64) -> u64 {
    add(hash, &number.to_le_bytes())
}

/// Returns `hash` with the words of a declaration added: blanks do not count, so that neither do line ends.
pub const fn add_words(mut hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_whitespace() {
            hash = add(hash, &[bytes[at]]);
        }
        at += 1;
    }
    hash
}

/// Returns the hash of a type's name, size and alignment.
pub const fn of_type(name: &str, bytes: usize, align: usize) -> u64 {
    add_number(add_number(add(START, name.as_bytes()), bytes as u64), align as u64)
}

/// A type whose layout is fixed and known.
pub trait Shape {
    /// The hash of its name, size, alignment, and of its fields' names, places and types.
    const HASH: u64;
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl Shape for $type {
            const HASH: u64 = of_type(stringify!($type), size_of::<$type>(), align_of::<$type>());
        })*
    };
}

plain!((), bool, u8, u16, u32, u64, usize, i32, i64);

impl<T: Shape> Shape for *const T {
    const HASH: u64 = add_number(of_type("*const", size_of::<*const T>(), align_of::<*const T>()), T::HASH);
}

impl<T: Shape> Shape for *mut T {
    const HASH: u64 = add_number(of_type("*mut", size_of::<*mut T>(), align_of::<*mut T>()), T::HASH);
}

impl<T: Shape, const N: usize> Shape for [T; N] {
    const HASH: u64 = add_number(of_type("array", size_of::<[T; N]>(), align_of::<[T; N]>()), T::HASH);
}

/// A function that may be absent.
impl<F: Function> Shape for Option<F> {
    const HASH: u64 = add_number(of_type("option", size_of::<Option<F>>(), align_of::<Option<F>>()), F::HASH);
}

/// A pointer to a function.
pub trait Function {
    /// The hash of its arguments and its result.
    const HASH: u64;
}

macro_rules! functions {
    ($(($($argument:ident),*)),*) => {
        $(impl<$($argument: Shape,)* R: Shape> Function for unsafe extern "C" fn($($argument),*) -> R {
            const HASH: u64 = {
                let hash = add(START, b"function");
                $(let hash = add_number(hash, $argument::HASH);)*
                add_number(hash, R::HASH)
            };
        })*
    };
}

functions!((), (A), (A, B), (A, B, C));

/// Defines structures of C's layout, each with its [`Shape`].
#[macro_export]
macro_rules! shaped {
    ($($(#[$outer:meta])* pub struct $name:ident { $($(#[$inner:meta])* pub $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$outer])*
            #[repr(C)]
            pub struct $name { $($(#[$inner])* pub $field: $type,)* }

            impl $crate::shape::Shape for $name {
                const HASH: u64 = {
                    let hash = $crate::shape::of_type(
                        stringify!($name), ::core::mem::size_of::<$name>(), ::core::mem::align_of::<$name>(),
                    );
                    $(
                        let hash = $crate::shape::add(hash, stringify!($field).as_bytes());
                        let hash = $crate::shape::add_number(hash, ::core::mem::offset_of!($name, $field) as u64);
                        let hash = $crate::shape::add_number(hash, <$type as $crate::shape::Shape>::HASH);
                    )*
                    hash
                };
            }
        )*
    };
}
