//! [`ApiKey`], its text format and the [`ApiKeyStore`] (feature `api-keys`). The request source is in `resolve`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 95 bits: collisions are negligible.
const ID_LENGTH: usize = 16;
/// 256 bits.
const SECRET_LENGTH: usize = 43;
const CRC_LENGTH: usize = 8;
/// Longer texts are rejected before any other work.
const MAX_KEY_BYTES: usize = 128;

/// The prefix of a service's API keys: the service's name and the environment, such as `acme` and `live`.
///
/// The text of a key is `acme_live_<id>_<secret>_<crc>`. Scanners for leaked secrets recognise the prefix, and the
/// checksum detects a mistyped key without a query of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyFormat {
    /// `acme_`
    service: String,
    /// `acme_live_`
    prefix: String,
}

impl ApiKeyFormat {
    /// Creates a format from two words, each of 2 to 16 characters `a-z` and `0-9`, a letter first.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for other words.
    pub fn new(service: &str, environment: &str) -> Result<Self> {
        let is_word = |word: &str| {
            (2..=16).contains(&word.len())
                && word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if !is_word(service) || !is_word(environment) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "an API key starts with two words of 2 to 16 characters a-z and 0-9, a letter first, such as `acme` and \
                 `live`",
            ));
        }
        Ok(Self { service: format!("{service}_"), prefix: format!("{service}_{environment}_") })
    }

    /// Whether a credential starts as a key of this service, in any environment.
    pub(crate) fn has_service_prefix(&self, text: &[u8]) -> bool {
        text.starts_with(self.service.as_bytes())
    }
}

/// An API key of a tenant, as a store keeps it: with a hash in place of the secret.
///
/// ```
/// use tenancy::clock::{Clock, SystemClock};
/// use tenancy::store::MemoryStore;
/// use tenancy::tenant::{ApiKey, ApiKeyFormat, ApiKeyStore, TenantId};
/// use secrecy::ExposeSecret;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// # let (store, tenant) = (MemoryStore::new(), TenantId::random());
/// let format = ApiKeyFormat::new("acme", "live")?;
/// let (key, secret) = ApiKey::issue(&format, tenant.clone(), "CI", SystemClock.now());
/// store.insert_key(&key).await?;
/// assert!(secret.expose_secret().starts_with("acme_live_"), "show the text once; only its hash is stored");
/// assert!(!format!("{key:?}").contains(secret.expose_secret()));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(ApiKeyParts);

/// The fields of an [`ApiKey`], for [`ApiKey::from_stored`].
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a new field must break the build of a custom store")]
pub struct ApiKeyParts {
    /// See [`ApiKey::id`].
    pub id: String,
    /// See [`ApiKey::tenant`].
    pub tenant: TenantId,
    /// See [`ApiKey::name`].
    pub name: String,
    /// See [`ApiKey::hash`].
    pub hash: [u8; 32],
    /// See [`ApiKey::created`].
    pub created: Timestamp,
    /// See [`ApiKey::expires`].
    pub expires: Option<Timestamp>,
    /// See [`ApiKey::revoked`].
    pub revoked: Option<Timestamp>,
}

impl ApiKey {
    /// Creates a new key for a tenant. Returns the key for the store and the text for its holder.
    ///
    /// The text cannot be recovered later. [`insert_key`](ApiKeyStore::insert_key) stores the key.
    ///
    /// # Panics
    /// If the operating system cannot provide random bytes.
    pub fn issue(
        format: &ApiKeyFormat,
        tenant: TenantId,
        name: impl Into<String>,
        now: Timestamp,
    ) -> (Self, SecretString) {
        let id = random::<ID_LENGTH>();
        let body = format!("{}{id}_{}", format.prefix, random::<SECRET_LENGTH>());
        let hash = Sha256::digest(&body).into();
        let key =
            ApiKeyParts { id, tenant, name: name.into(), hash, created: now, expires: None, revoked: None };
        let text = format!("{body}_{:08x}", crc32fast::hash(body.as_bytes()));
        (Self(key), text.into())
    }

    /// Sets the time at which the key expires.
    #[must_use]
    pub fn expiring(self, at: Timestamp) -> Self {
        Self(ApiKeyParts { expires: Some(at), ..self.0 })
    }

    /// Creates a key from its stored fields, for a store of your own.
    ///
    /// # Security
    /// Only a store should call this: the fields decide which tenant's data the holder of the key can reach.
    pub fn from_stored(stored: ApiKeyParts) -> Self {
        Self(stored)
    }

    /// The public id, which may be shown and logged.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The tenant that owns the key.
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// The display name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// SHA-256 of the key's text without the checksum: service, environment, id and secret.
    pub fn hash(&self) -> &[u8; 32] {
        &self.0.hash
    }

    /// When the key was issued.
    pub fn created(&self) -> Timestamp {
        self.0.created
    }

    /// When the key expires, if it does.
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires
    }

    /// When the key was revoked, if it was.
    pub fn revoked(&self) -> Option<Timestamp> {
        self.0.revoked
    }

    /// The key as revoked at `now`, for a store of your own. An earlier revocation keeps its time.
    #[must_use]
    pub fn revoked_at(&self, now: Timestamp) -> Self {
        Self(ApiKeyParts { revoked: self.0.revoked.or(Some(now)), ..self.0.clone() })
    }
}

/// Omits the hash, so that no log contains it.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ApiKeyParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("name", &self.name)
            .field("expires", &self.expires)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// The storage of API keys. Implement it to keep them in a database of your own.
///
/// [`testing::api_key_store`](crate::testing::api_key_store) tests an implementation against this contract.
#[async_trait]
pub trait ApiKeyStore: Send + Sync + fmt::Debug {
    /// Adds a key.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if a key with this id exists.
    async fn insert_key(&self, key: &ApiKey) -> Result<()>;

    /// The key with this id, or `None`. Revoked and expired keys are returned as well.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the store cannot be read; never `None` in that case.
    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>>;

    /// Revokes a key of this tenant permanently. Revoking it again is no error and keeps the first time.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the tenant has no such key.
    async fn revoke_key(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Result<Arc<ApiKey>>;

    /// All keys of a tenant, sorted by id.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the store cannot be read.
    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>>;
}

/// A well-formed key from a request, not yet looked up. It contains the hash of the secret only.
pub(crate) struct Presented {
    pub(crate) id: String,
    hash: [u8; 32],
}

/// Why a key is rejected. For logs only; the response has the same text for all reasons.
type KeyFormatError = &'static str;

impl Presented {
    pub(crate) fn parse(format: &ApiKeyFormat, text: &[u8]) -> Result<Self, KeyFormatError> {
        if text.len() > MAX_KEY_BYTES {
            return Err("too long");
        }
        let text = std::str::from_utf8(text).map_err(|_| "not ASCII")?;
        let rest = text.strip_prefix(&format.prefix).ok_or("a key of another environment")?;
        let mut parts = rest.split('_');
        let (Some(id), Some(secret), Some(crc), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("not the parts of a key");
        };
        let is_part =
            |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_part(id, ID_LENGTH) || !is_part(secret, SECRET_LENGTH) || !is_part(crc, CRC_LENGTH) {
            return Err("not the parts of a key");
        }
        let body = &text[..text.len() - CRC_LENGTH - 1];
        if crc != format!("{:08x}", crc32fast::hash(body.as_bytes())) {
            return Err("the checksum differs: mistyped");
        }
        Ok(Self { id: id.to_owned(), hash: Sha256::digest(body).into() })
    }

    /// Returns the stored key if the secrets match and the key is valid. An absent key costs the same comparison.
    pub(crate) fn check<'a>(
        &self,
        stored: Option<&'a ApiKey>,
        now: Timestamp,
    ) -> Result<&'a ApiKey, KeyFormatError> {
        let hash = stored.map_or([0; 32], |key| *key.hash());
        let matches = bool::from(self.hash.ct_eq(&hash));
        match stored {
            None => Err("unknown"),
            Some(_) if !matches => Err("the secret differs"),
            Some(key) if key.revoked().is_some() => Err("revoked"),
            Some(key) if key.expires().is_some_and(|end| end <= now) => Err("expired"),
            Some(key) => Ok(key),
        }
    }
}

fn random<const N: usize>() -> String {
    let mut text = String::with_capacity(N);
    let mut bytes = [0; 64];
    while text.len() < N {
        getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
        // 248 is four times 62. Bytes from 248 on would make some characters more frequent.
        let unbiased = bytes.iter().filter(|byte| **byte < 248).take(N - text.len());
        text.extend(unbiased.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    text
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn format() -> ApiKeyFormat {
        ApiKeyFormat::new("acme", "live").unwrap()
    }

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

    #[test]
    fn the_checksum_is_the_crc_32_of_gzip_and_png() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_key_is_itself_and_no_other() {
        let tenant = TenantId::random();
        let (key, text) = ApiKey::issue(&format(), tenant.clone(), "CI", NOW);
        let (other, _) = ApiKey::issue(&format(), tenant, "CI", NOW);
        let presented = Presented::parse(&format(), text.expose_secret().as_bytes()).unwrap();
        assert_eq!(presented.id, key.id());
        assert_ne!(key.id(), other.id());
        assert_eq!(presented.check(Some(&key), NOW), Ok(&key));
        assert_eq!(presented.check(Some(&other), NOW), Err("the secret differs"));
        assert_eq!(presented.check(None, NOW), Err("unknown"));
        assert_eq!(presented.check(Some(&key.revoked_at(NOW)), NOW), Err("revoked"));
        assert_eq!(presented.check(Some(&key.clone().expiring(NOW)), NOW), Err("expired"));
        let ending = key.expiring(NOW);
        assert_eq!(presented.check(Some(&ending), Timestamp::from_seconds(0)), Ok(&ending));
        // An all-zero hash is what an unknown id is compared with.
        let zero = Presented { id: String::new(), hash: [0; 32] };
        assert_eq!(zero.check(None, NOW), Err("unknown"));
    }

    #[test]
    fn every_character_counts() {
        let (_, text) = ApiKey::issue(&format(), TenantId::random(), "CI", NOW);
        let text = text.expose_secret().as_bytes();
        for at in 0..text.len() {
            for byte in [b'0', b'z', b'_', b' ', 0, 0xff] {
                let mut wrong = text.to_vec();
                if std::mem::replace(&mut wrong[at], byte) != byte {
                    assert!(Presented::parse(&format(), &wrong).is_err(), "{at}");
                }
            }
            assert!(Presented::parse(&format(), &text[..at]).is_err());
        }
        assert!(Presented::parse(&format(), &[text, b"_"].concat()).is_err());
        assert!(Presented::parse(&format(), &[b'a'; 5000]).is_err());
        let elsewhere = ApiKeyFormat::new("acme", "test").unwrap();
        assert!(elsewhere.has_service_prefix(text) && Presented::parse(&elsewhere, text).is_err());
    }

    #[test]
    fn the_words_of_a_format_are_plain() {
        for (service, environment) in
            [("", "live"), ("Acme", "live"), ("ac_me", "live"), ("acme", "l"), ("1a", "live")]
        {
            assert!(ApiKeyFormat::new(service, environment).is_err());
        }
    }
}
