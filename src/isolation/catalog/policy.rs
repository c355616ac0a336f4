//! [`Policy`]: a policy of a table as the catalogue has it.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) permissive: bool,
    pub(crate) command: char,
    /// It is for every role.
    pub(crate) everybody: bool,
    pub(crate) using: Option<String>,
    pub(crate) check: Option<String>,
    pub(crate) comment: Option<String>,
}

impl Policy {
    /// Whether both apply the same condition to the same statements. Whether one is restrictive does not count.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let parts =
            |policy: &Self| (policy.command, policy.everybody, policy.using.clone(), policy.check.clone());
        self.name == other.name && parts(self) == parts(other)
    }
}
