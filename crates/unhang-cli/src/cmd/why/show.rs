//! What is told, and how: a screen for people, an object for machines, a picture.

pub(crate) mod dot;
mod graph;
mod group;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod output;
pub(crate) mod page_file;
pub(crate) mod text;
mod words;
