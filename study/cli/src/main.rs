//! `rhumb-study`: does it matter on this machine if the direct map is broken into small pages?

fn main() {}
