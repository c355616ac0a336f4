//! In place of the drop-in door, when the feature `dynamic` is off.

#[derive(Debug)]
pub(super) struct Door;

impl Door {
    pub(super) fn new() -> Self {
        Self
    }
}

#[expect(unnameable_types, reason = "part of a sealed trait")]
pub trait Streams {}

impl<DB> Streams for DB {}
