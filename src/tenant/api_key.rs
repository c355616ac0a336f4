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
/// 95 bits, which no two keys share.
const ID_LENGTH: usize = 16;
/// 256 bits.
const SECRET_LENGTH: usize = 43;
const CRC_LENGTH: usize = 8;
/// So that what is not a key costs little.
const LONGEST: usize = 128;

/// How the keys of one service begin: its name and the environment, such as `acme` and `live`.
///
/// A key reads `acme_live_<id>_<secret>_<crc>`: scanners for leaked secrets know it by its beginning, and the checksum
/// tells a mistyped key without a look into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyFormat {
    /// `acme_`
    service: String,
    /// `acme_live_`
    start: String,
}

impl ApiKeyFormat {
    /// A format of these two words: 2 to 16 of `a-z` and `0-9` each, a letter first.
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
                "a key begins with two words of 2 to 16 of a-z and 0-9, a letter first, such as `acme` and `live`",
            ));
        }
        Ok(Self { service: format!("{service}_"), start: format!("{service}_{environment}_") })
    }

    /// Whether a credential is meant to be a key of this service, valid or not.
    pub(crate) fn is_meant_by(&self, text: &[u8]) -> bool {
        text.starts_with(self.service.as_bytes())
    }
}

/// A tenant's key, as a store keeps it: without the secret, of which it has the hash only.
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
/// assert!(secret.expose_secret().starts_with("acme_live_"), "shown once, and never again");
/// assert!(!format!("{key:?}").contains(secret.expose_secret()));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(ApiKeyParts);

/// The parts of an [`ApiKey`], for [`ApiKey::from_stored`].
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store must fill in every part, and hear of a new one")]
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
    /// A new key of a tenant, and its text, which is the holder's alone and cannot be had again.
    ///
    /// # Panics
    /// If the operating system has no random numbers.
    pub fn issue(
        format: &ApiKeyFormat,
        tenant: TenantId,
        name: impl Into<String>,
        now: Timestamp,
    ) -> (Self, SecretString) {
        let id = random::<ID_LENGTH>();
        let body = format!("{}{id}_{}", format.start, random::<SECRET_LENGTH>());
        let hash = Sha256::digest(&body).into();
        let key =
            ApiKeyParts { id, tenant, name: name.into(), hash, created: now, expires: None, revoked: None };
        let text = format!("{body}_{:08x}", crc32fast::hash(body.as_bytes()));
        (Self(key), text.into())
    }

    /// The same key, which ends at a time.
    #[must_use]
    pub fn expiring(self, at: Timestamp) -> Self {
        Self(ApiKeyParts { expires: Some(at), ..self.0 })
    }

    /// A key read back by a store of your own.
    ///
    /// # Security
    /// Only a store should call this: whoever can make an `ApiKey` decides whose data its holder reaches.
    pub fn from_stored(stored: ApiKeyParts) -> Self {
        Self(stored)
    }

    /// The public part, which may be shown and logged.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Whose key it is.
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// SHA-256 of the key's text up to the checksum: the secret, and with it the id and the environment.
    pub fn hash(&self) -> &[u8; 32] {
        &self.0.hash
    }

    /// When it was issued.
    pub fn created(&self) -> Timestamp {
        self.0.created
    }

    /// When it ends, if it does.
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires
    }

    /// When it was revoked, if it was.
    pub fn revoked(&self) -> Option<Timestamp> {
        self.0.revoked
    }

    /// The same key, revoked; the first time counts. For stores of your own.
    #[must_use]
    pub fn revoked_at(&self, now: Timestamp) -> Self {
        Self(ApiKeyParts { revoked: self.0.revoked.or(Some(now)), ..self.0.clone() })
    }
}

/// Without the hash: it is no secret of its own, and belongs into no log.
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

/// Where tenants' keys are kept.
///
/// [`testing::api_key_store`](crate::testing::api_key_store) checks the promises on a store of your own.
#[async_trait]
pub trait ApiKeyStore: Send + Sync + fmt::Debug {
    /// Adds a key.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if there is one with this id.
    async fn insert_key(&self, key: &ApiKey) -> Result<()>;

    /// The key with this id, or `None`. One that was revoked or has ended is still found.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] when it cannot be known; never `None` in that case.
    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>>;

    /// Revokes a key of this tenant, for good. Again is no error, and the first time stays.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the tenant has no such key.
    async fn revoke_key(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Result<Arc<ApiKey>>;

    /// Every key of a tenant, in the order of their ids.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] when it cannot be known.
    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>>;
}

/// A key as a request presents it: well-formed, and not looked up yet. Of the secret there is the hash only.
pub(crate) struct Presented {
    pub(crate) id: String,
    hash: [u8; 32],
}

/// Why a key is refused. For logs; a client hears one text for all of them.
type KeyFormatError = &'static str;

impl Presented {
    pub(crate) fn parse(format: &ApiKeyFormat, text: &[u8]) -> Result<Self, KeyFormatError> {
        if text.len() > LONGEST {
            return Err("too long");
        }
        let text = std::str::from_utf8(text).map_err(|_| "not ASCII")?;
        let rest = text.strip_prefix(&format.start).ok_or("a key of another environment")?;
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

    /// The stored key, if this is it, and it may be used. One that is not there is compared all the same.
    pub(crate) fn check<'a>(
        &self,
        stored: Option<&'a ApiKey>,
        now: Timestamp,
    ) -> Result<&'a ApiKey, KeyFormatError> {
        let hash = stored.map_or([0; 32], |key| *key.hash());
        let same = bool::from(self.hash.ct_eq(&hash));
        match stored {
            None => Err("unknown"),
            Some(_) if !same => Err("the secret differs"),
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
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        // 248 is four times 62: above it, some letters would come more often.
        let even = bytes.iter().filter(|byte| **byte < 248).take(N - text.len());
        text.extend(even.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
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
        assert!(elsewhere.is_meant_by(text) && Presented::parse(&elsewhere, text).is_err());
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
