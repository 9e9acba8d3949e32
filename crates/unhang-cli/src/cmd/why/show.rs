//! What is told, and how: a screen for people, an object for machines.

pub(crate) mod json;
pub(crate) mod output;
pub(crate) mod text;
