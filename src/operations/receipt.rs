//! [`DeletionReceipt`]: what was deleted of a tenant; [`ReceiptKeys`]: the keys that sign it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::signed::{SigningKeys, signing_key_constructors};
use crate::tenant::Placement;

/// What was deleted of a tenant. [`Deletion::run`](super::Deletion::run) returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeletionReceipt {
    /// The id of the tenant.
    pub tenant: String,
    /// Its slug, which stays reserved.
    pub slug: String,
    /// Where its rows were.
    pub placement: Placement,
    /// Who asked for it.
    pub actor: String,
    /// When the deletion began and ended, in microseconds since 1970; the end is 0 while it runs.
    pub started_us: i64,
    /// See `started_us`.
    pub ended_us: i64,
    /// The number of deleted rows, by table.
    pub tables: BTreeMap<String, u64>,
    /// What each hook returned, by the name of the hook.
    pub hooks: BTreeMap<String, u64>,
    /// The tables whose rows are kept, each with the reason.
    pub holds: BTreeMap<String, String>,
}

impl DeletionReceipt {
    /// The receipt as JSON.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are always JSON")
    }
}

/// The keys that sign receipts of deletions.
///
/// ```
/// use tenancy::operations::{DeletionReceipt, ReceiptKeys};
///
/// fn read(keys: &ReceiptKeys, signed: &str) -> tenancy::Result<u64> {
///     let receipt: DeletionReceipt = keys.verify(signed)?;
///     Ok(receipt.tables.values().sum())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ReceiptKeys {
    keys: SigningKeys,
}

impl ReceiptKeys {
    signing_key_constructors!("tenancy-deletion-1", "receipts");

    /// Signs a receipt: a text that contains the receipt, with letters, digits, `.`, `-` and `_` only.
    pub fn sign(&self, receipt: &DeletionReceipt) -> String {
        self.keys.sign(receipt.text(), None)
    }

    /// The receipt of a signed text.
    ///
    /// # Errors
    /// [`ErrorKind::SignatureInvalid`] if none of the keys signed the text.
    pub fn verify(&self, signed: &str) -> Result<DeletionReceipt> {
        let invalid =
            |why: &str| Error::new(ErrorKind::SignatureInvalid, format!("this is no signed receipt: {why}"));
        let text = self.keys.verify(signed.trim(), None).map_err(invalid)?;
        serde_json::from_str(&text).map_err(|_| invalid("it is of another version"))
    }
}
