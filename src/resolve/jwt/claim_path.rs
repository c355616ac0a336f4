//! [`ClaimPath`]: the claim of a token that names the tenant.

use std::collections::BTreeMap;

use serde_json::Value;

/// A claim of a token: its name, or the names of objects inside each other.
///
/// Made from a text or an array of texts: see [`JwtSourceBuilder::tenant_claim`](super::JwtSourceBuilder::tenant_claim).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(String::is_empty)
    }

    pub(super) fn find<'a>(&self, claims: &'a BTreeMap<String, Value>) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
    }
}

impl From<&str> for ClaimPath {
    fn from(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }
}

impl From<String> for ClaimPath {
    fn from(name: String) -> Self {
        Self(vec![name])
    }
}

impl<const N: usize> From<[&str; N]> for ClaimPath {
    fn from(names: [&str; N]) -> Self {
        Self(names.map(str::to_owned).into())
    }
}
