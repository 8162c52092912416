//! Tests: a small hosted machine, directed cases, and random histories against the plain model.

mod bad_input;
mod basics;
mod handover;
mod histories;
mod machine;
mod moving;
mod parallel;
mod policy;
mod report;
