//! Rhumb's memory core on the real TLB.
