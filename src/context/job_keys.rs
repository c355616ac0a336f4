use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use super::{Directory, Envelope, Job, Opened};
use crate::error::{Error, ErrorKind, Result};

/// The keys that sign jobs, and prove that they were signed: HMAC-SHA256.
///
/// ```
/// use tenancy::context::JobKeys;
///
/// # fn keys(new: &[u8], old: &[u8]) -> tenancy::Result<JobKeys> {
/// // The first key signs. To change it, put the new one in front, and keep the old one until its jobs are done.
/// let keys = JobKeys::new("2026-11", new)?.also_open("2026-05", old)?;
/// # Ok(keys) }
/// ```
///
/// # Security
/// Who has a key can make a job for any tenant and actor. Take random bytes for it, and share it with no other use.
pub struct JobKeys {
    signs: Key,
    others: Vec<Key>,
}

struct Key {
    id: String,
    secret: SecretSlice<u8>,
}

/// What a signed text begins with: another version has another one.
const PREFIX: &str = "tenancy-job-1";

/// A secret shorter than the code it makes is the easier one to guess.
const SHORTEST_SECRET: usize = 32;

impl JobKeys {
    /// The key that signs, under the id by which its envelopes name it.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for a secret under 32 bytes, or an id that is not 1 to 32 letters, digits and `-`.
    pub fn new(id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self { signs: Key::new(id.into(), secret.as_ref())?, others: Vec::new() })
    }

    /// With another key, whose envelopes still open.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for an id that is there already.
    pub fn also_open(mut self, id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self> {
        let key = Key::new(id.into(), secret.as_ref())?;
        if self.all().any(|known| known.id == key.id) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "two keys for jobs have the same id; give each its own",
            ));
        }
        self.others.push(key);
        Ok(self)
    }

    /// Opens a signed envelope.
    ///
    /// # Errors
    /// [`ErrorKind::SignatureInvalid`], always with the same text, unless one of the keys signed exactly this text;
    /// the reason is a `tracing` event of level `DEBUG`. [`ErrorKind::Expired`]; [`ErrorKind::InvalidInput`] for another
    /// kind of job, or one that does not read; otherwise as [`Directory::enter`].
    pub async fn open<J: Job>(&self, directory: &Directory, envelope: &str) -> Result<Opened<J>> {
        let text = self.verify(envelope).map_err(|reason| {
            tracing::debug!(reason, "a job's signature was refused");
            Error::new(ErrorKind::SignatureInvalid, "the job's signature does not prove it")
        })?;
        directory.open_believed(&text).await
    }

    fn verify(&self, envelope: &str) -> Result<String, &'static str> {
        let (signed, code) = envelope.rsplit_once('.').ok_or("it has no signature")?;
        let [prefix, id, contents] = signed.split('.').collect::<Vec<_>>()[..] else {
            return Err("it does not have four parts");
        };
        if prefix != PREFIX {
            return Err("it is no envelope of this version");
        }
        let key = self.all().find(|key| key.id == id).ok_or("no key has its id")?;
        // One text for each code: the engine takes no padding and no stray bits.
        let code = URL_SAFE_NO_PAD.decode(code).map_err(|_| "the signature does not read")?;
        key.code(signed).verify_slice(&code).map_err(|_| "the signature is another one")?;
        let contents = URL_SAFE_NO_PAD.decode(contents).map_err(|_| "the contents do not read")?;
        String::from_utf8(contents).map_err(|_| "the contents are no text")
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.signs).chain(&self.others)
    }
}

impl<J: Job> Envelope<'_, J> {
    /// The signed text: letters, digits, `.`, `-` and `_`.
    ///
    /// # Errors
    /// As [`to_json`](Self::to_json).
    pub fn sign(&self, keys: &JobKeys) -> Result<String> {
        let contents = URL_SAFE_NO_PAD.encode(self.to_json()?);
        let signed = format!("{PREFIX}.{}.{contents}", keys.signs.id);
        let code = URL_SAFE_NO_PAD.encode(keys.signs.code(&signed).finalize().into_bytes());
        Ok(format!("{signed}.{code}"))
    }
}

impl Key {
    fn new(id: String, secret: &[u8]) -> Result<Self> {
        let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let fault = if !plain || !(1..=32).contains(&id.len()) {
            "the id of a key for jobs is 1 to 32 letters, digits and `-`"
        } else if secret.len() < SHORTEST_SECRET {
            "a key for jobs has at least 32 bytes; make one with `openssl rand -base64 32`"
        } else {
            return Ok(Self { id, secret: secret.to_vec().into() });
        };
        Err(Error::new(ErrorKind::Misconfigured, fault))
    }

    fn code(&self, signed: &str) -> Hmac<Sha256> {
        // The prefix stands in what is signed, so the code is of no use elsewhere, nor one from elsewhere here.
        let mut code = Hmac::<Sha256>::new_from_slice(self.secret.expose_secret())
            .expect("a key of any length is a key for HMAC");
        code.update(signed.as_bytes());
        code
    }
}

/// The ids, and nothing else.
impl fmt::Debug for JobKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobKeys").field(&self.all().map(|key| &key.id).collect::<Vec<_>>()).finish()
    }
}
