//! Tests: a small hosted machine, directed cases, and random histories against the plain model.

mod basics;
mod histories;
mod machine;
