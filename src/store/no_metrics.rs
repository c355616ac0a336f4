pub(super) fn hit() {}

pub(super) fn miss() {}

pub(super) fn absent() {}
