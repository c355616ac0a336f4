use super::{Envelope, Job, ReceivedJob, TenantDirectory};
use crate::error::{Error, ErrorKind, Result};
use crate::signed::SigningKeys;

/// The keys that sign jobs, and prove that they were signed: HMAC-SHA256.
///
/// ```
/// use tenancy::context::JobKeys;
///
/// # fn keys(new: &[u8], old: &[u8]) -> tenancy::Result<JobKeys> {
/// // The first key signs. To change it, put the new one in front, and keep the old one until its jobs are done.
/// let keys = JobKeys::new("2026-11", new)?.with_previous_key("2026-05", old)?;
/// # Ok(keys) }
/// ```
///
/// # Security
/// Who has a key can make a job for any tenant and actor. Take random bytes for it, and share it with no other use.
#[derive(Debug)]
pub struct JobKeys(SigningKeys);

impl JobKeys {
    /// The key that signs, under the id by which its envelopes name it.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for a secret under 32 bytes, or an id that is not 1 to 32 letters, digits and `-`.
    pub fn new(id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self> {
        SigningKeys::new("tenancy-job-1", id.into(), secret.as_ref()).map(Self)
    }

    /// With another key, whose envelopes still open.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for an id that is there already.
    pub fn with_previous_key(self, id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self> {
        self.0.also(id.into(), secret.as_ref()).map(Self)
    }

    /// Opens a signed envelope.
    ///
    /// # Errors
    /// [`ErrorKind::SignatureInvalid`], always with the same text, unless one of the keys signed exactly this text;
    /// the reason is a `tracing` event of level `DEBUG`. [`ErrorKind::Expired`]; [`ErrorKind::InvalidInput`] for another
    /// kind of job, or one that does not read; otherwise as [`TenantDirectory::context`].
    pub async fn open<J: Job>(&self, directory: &TenantDirectory, envelope: &str) -> Result<ReceivedJob<J>> {
        let text = self.0.verify(envelope, None).map_err(|reason| {
            tracing::debug!(reason, "a job's signature was refused");
            Error::new(ErrorKind::SignatureInvalid, "the job's signature does not prove it")
        })?;
        directory.open_believed(&text).await
    }
}

impl<J: Job> Envelope<'_, J> {
    /// The signed text: letters, digits, `.`, `-` and `_`.
    ///
    /// # Errors
    /// As [`to_json`](Self::to_json).
    pub fn sign(&self, keys: &JobKeys) -> Result<String> {
        Ok(keys.0.sign(self.to_json()?, None))
    }
}
