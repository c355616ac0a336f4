//! [`FeatureId`]: the key of a feature with its hash, so that a lookup compares numbers first.

/// A feature's key with its hash, which is computed when the constant is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FeatureId {
    pub(crate) hash: u64,
    pub(crate) name: &'static str,
}

impl FeatureId {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { hash: fnv1a(name), name }
    }
}

/// FNV-1a, because it can run in a constant.
pub(crate) const fn fnv1a(text: &str) -> u64 {
    let (bytes, mut at, mut hash) = (text.as_bytes(), 0, 0xcbf2_9ce4_8422_2325_u64);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
