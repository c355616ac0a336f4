//! In place of the drop-in door, when the feature `dynamic` is off.

#[derive(Debug, Default)]
pub(super) struct Door;

#[expect(unnameable_types, reason = "part of a sealed trait")]
pub trait Streams {}

impl<DB> Streams for DB {}
