//! What can be wrong with an account or a pipeline.

pub mod kinds;
