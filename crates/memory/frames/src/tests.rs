//! Tests: a small hosted machine, directed cases, and random histories against the plain model; with the features
//! `loom` and `shuttle`, model checking instead.

#[cfg(not(feature = "model"))]
mod access;
#[cfg(not(feature = "model"))]
mod bad_input;
#[cfg(not(feature = "model"))]
mod basics;
#[cfg(not(feature = "model"))]
mod bounded;
#[cfg(not(feature = "model"))]
mod caches;
#[cfg(not(feature = "model"))]
mod candidates;
#[cfg(all(feature = "checked", not(feature = "model")))]
mod checked;
#[cfg(not(feature = "model"))]
mod descriptors;
#[cfg(not(feature = "model"))]
mod exhaustion;
#[cfg(not(feature = "model"))]
mod goals;
#[cfg(not(feature = "model"))]
mod handover;
#[cfg(not(feature = "model"))]
mod histories;
#[cfg(not(feature = "model"))]
mod machine;
#[cfg(feature = "model")]
mod models;
#[cfg(not(feature = "model"))]
mod moving;
#[cfg(not(feature = "model"))]
mod parallel;
#[cfg(not(feature = "model"))]
mod policy;
#[cfg(not(feature = "model"))]
mod records;
#[cfg(not(feature = "model"))]
mod report;
