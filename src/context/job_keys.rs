//! [`JobKeys`]: signed job envelopes (feature `jobs`). `TenantDb::open_job` opens unsigned ones.

use super::{Envelope, Job, ReceivedJob, TenantDirectory};
use crate::error::{Error, ErrorKind, Result};
use crate::signed::{SigningKeys, signing_key_constructors};

/// The keys that sign jobs and verify their signatures, with HMAC-SHA256.
///
/// ```
/// use tenancy::context::JobKeys;
///
/// # fn keys(new: &[u8], old: &[u8]) -> tenancy::Result<JobKeys> {
/// // The first key signs. To rotate it, put the new key first, and keep the old key until its jobs are done.
/// let keys = JobKeys::new("2026-11", new)?.with_previous_key("2026-05", old)?;
/// # Ok(keys) }
/// ```
///
/// # Security
/// Whoever has a key can create a job for any tenant and actor. Use random bytes, and use the key for nothing else.
#[derive(Debug, Clone)]
pub struct JobKeys {
    keys: SigningKeys,
}

impl JobKeys {
    signing_key_constructors!("tenancy-job-1", "envelopes");

    /// Verifies and opens a signed envelope, and creates the context of its tenant.
    ///
    /// # Errors
    /// [`ErrorKind::SignatureInvalid`], always with the same text, unless one of the keys signed exactly this text;
    /// the reason is a `tracing` event of level `DEBUG`. [`ErrorKind::Expired`] after the envelope's time limit;
    /// [`ErrorKind::InvalidInput`] for another kind of job, or one that does not deserialise; otherwise as
    /// [`TenantDirectory::context`].
    pub async fn open<J: Job>(&self, directory: &TenantDirectory, envelope: &str) -> Result<ReceivedJob<J>> {
        let text = self.keys.verify(envelope, None).map_err(|reason| {
            tracing::debug!(reason, "a job's signature was rejected");
            Error::new(ErrorKind::SignatureInvalid, "the job's signature is not valid")
        })?;
        directory.open_unverified(&text).await
    }
}

impl<J: Job> Envelope<'_, J> {
    /// Signs the envelope. The text has letters, digits, `.`, `-` and `_` only.
    ///
    /// # Errors
    /// As [`to_json`](Self::to_json).
    pub fn sign(&self, keys: &JobKeys) -> Result<String> {
        Ok(keys.keys.sign(self.to_json()?, None))
    }
}
