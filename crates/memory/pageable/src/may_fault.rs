//! [`MayFault`]: the right to wait for a page.

use core::marker::PhantomData;

/// The right to wait for a page: the caller is in thread context, with interrupts on, and holds no lock for which an
/// interrupt handler waits.
///
/// Functions that may wait take it, so that code that must not wait cannot call them by mistake. It is checked when it is
/// made ([`Pageable::may_fault`](crate::Pageable::may_fault)), and again at each use, because interrupts may have been turned off since.
///
/// ```compile_fail,E0277
/// fn elsewhere(may_fault: rhumb_pageable::MayFault<'_>) {
///     std::thread::scope(|scope| { scope.spawn(move || drop(may_fault)); });
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MayFault<'here>(PhantomData<(&'here (), *mut ())>);

impl MayFault<'_> {
    /// Makes it. The caller has asked the home.
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}
