//! [`TenantNames`]: which of the tenant ids in an object count.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::Malformed;
use super::references::CheckoutReferences;
use crate::billing::Fact;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// The reason of an event that carries the stamp of another installation.
const OTHER_INSTALLATION: &str = "the metadata carries the stamp of another installation";

/// Reads the tenant that an object names: in the metadata, or in a signed reference.
#[derive(Debug, Clone, Default)]
pub(super) struct TenantNames {
    references: Option<Arc<CheckoutReferences>>,
    installation: Option<Arc<str>>,
}

/// A fact, read with the tenant that its object names.
pub(super) struct NamedFact {
    pub(super) fact: Fact,
    /// The reason to ignore the event if it is about no stored customer or subscription.
    pub(super) ignored_if_unknown: Option<&'static str>,
}

impl From<Fact> for NamedFact {
    fn from(fact: Fact) -> Self {
        Self { fact, ignored_if_unknown: None }
    }
}

/// The tenant id that was written into an object's metadata.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    Absent,
    Tenant(String),
    /// Another program on the same Stripe account wrote it.
    OtherInstallation,
}

impl Stamp {
    pub(super) fn ignored_if_unknown(&self) -> Option<&'static str> {
        (*self == Self::OtherInstallation).then_some(OTHER_INSTALLATION)
    }

    pub(super) fn into_tenant(self) -> Option<String> {
        if let Self::Tenant(tenant) = self { Some(tenant) } else { None }
    }
}

impl TenantNames {
    pub(super) fn set_references(&mut self, keys: Arc<CheckoutReferences>) {
        self.references = Some(keys);
    }

    pub(super) fn set_installation(&mut self, name: &str) -> Result<()> {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !plain || !(1..=64).contains(&name.len()) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "the name of an installation is 1 to 64 letters, digits, `-` and `_`",
            ));
        }
        self.installation = Some(name.into());
        Ok(())
    }

    /// The name of the installation; empty if it has none.
    pub(super) fn installation(&self) -> &str {
        self.installation.as_deref().unwrap_or_default()
    }

    /// The metadata that names a tenant.
    pub(super) fn metadata(&self, tenant: &TenantId) -> Value {
        let mut metadata = json!({ "tenant_id": tenant.to_string() });
        if let Some(installation) = &self.installation {
            metadata["tenancy_installation"] = json!(installation.as_ref());
        }
        metadata
    }

    /// The reference of a checkout for a tenant, signed if there are keys.
    pub(super) fn client_reference(&self, tenant: &TenantId) -> String {
        self.references.as_ref().map_or_else(|| tenant.to_string(), |keys| keys.reference(tenant))
    }

    /// The key of a request that is made once for each tenant of this installation.
    pub(super) fn idempotency_key(&self, request: &str, tenant: &TenantId) -> String {
        format!("tenancy-{request}-{}-{tenant}", self.installation())
    }

    /// The stamp in the metadata of `object`.
    pub(super) fn stamp(&self, object: &Value) -> Result<Stamp, Malformed> {
        let Some(metadata) = nested!(object, "metadata")? else { return Ok(Stamp::Absent) };
        let tenant = text!(metadata, "tenant_id")?;
        let installation = text!(metadata, "tenancy_installation")?;
        if let Some(own) = self.installation.as_deref()
            && (tenant.is_some() || installation.is_some())
            && installation != Some(own)
        {
            return Ok(Stamp::OtherInstallation);
        }
        Ok(tenant.map_or(Stamp::Absent, |tenant| Stamp::Tenant(tenant.to_owned())))
    }

    /// The first stamp in the metadata of several objects.
    pub(super) fn first_stamp<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Value>,
    ) -> Result<Stamp, Malformed> {
        for object in objects {
            let stamp = self.stamp(object)?;
            if stamp != Stamp::Absent {
                return Ok(stamp);
            }
        }
        Ok(Stamp::Absent)
    }

    /// The tenant id in the reference of a checkout, if this installation signed it.
    pub(super) fn reference(&self, session: &Value) -> Result<Option<String>, Malformed> {
        let reference = text!(session, "client_reference_id")?;
        Ok(self
            .references
            .as_ref()
            .zip(reference)
            .and_then(|(keys, text)| keys.verify(text).ok().map(|tenant| tenant.to_string())))
    }
}
