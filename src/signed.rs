//! Signed texts for jobs, logins, headers and checkouts: HMAC-SHA256 over purpose, key id and contents.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};

/// The keys of one purpose. The first key signs; all keys verify.
#[derive(Clone)]
pub(crate) struct SigningKeys {
    /// The start of every signed text. Each purpose and each version has its own prefix.
    prefix: &'static str,
    current: SigningKey,
    previous: Vec<SigningKey>,
}

#[derive(Clone)]
struct SigningKey {
    id: String,
    secret: SecretSlice<u8>,
}

/// The length of the HMAC. A shorter secret is easier to guess than the HMAC itself.
const MIN_SECRET_BYTES: usize = 32;

/// Implements `new` and `with_previous_key` for a struct with a field `keys: SigningKeys`.
///
/// `$signed` is the plural of what the keys sign, for the docs; `$field: $value` fill the other fields.
macro_rules! signing_key_constructors {
    ($prefix:literal, $signed:literal $(, $field:ident: $value:expr)*) => {
        #[doc = concat!("Creates the keys from one secret, which signs. Signed ", $signed, " contain `id`.")]
        ///
        /// # Errors
        /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) for a secret under 32 bytes, or an id that
        /// is not 1 to 32 letters, digits and `-`.
        pub fn new(id: impl Into<String>, secret: impl AsRef<[u8]>) -> crate::Result<Self> {
            let keys = crate::signed::SigningKeys::new($prefix, id.into(), secret.as_ref())?;
            Ok(Self { keys $(, $field: $value)* })
        }

        #[doc = concat!("Adds a previous key: ", $signed, " that it signed are still accepted.")]
        ///
        /// # Errors
        /// As [`new`](Self::new), and for an id that another key already has.
        pub fn with_previous_key(
            mut self,
            id: impl Into<String>,
            secret: impl AsRef<[u8]>,
        ) -> crate::Result<Self> {
            self.keys.add_previous(id.into(), secret.as_ref())?;
            Ok(self)
        }
    };
}

pub(crate) use signing_key_constructors;

impl SigningKeys {
    pub(crate) fn new(prefix: &'static str, id: String, secret: &[u8]) -> Result<Self> {
        Ok(Self { prefix, current: SigningKey::new(id, secret)?, previous: Vec::new() })
    }

    pub(crate) fn add_previous(&mut self, id: String, secret: &[u8]) -> Result<()> {
        let key = SigningKey::new(id, secret)?;
        if self.all().any(|known| known.id == key.id) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "two signing keys have the same id; give each its own",
            ));
        }
        self.previous.push(key);
        Ok(())
    }

    /// Signs `contents`. The text has letters, digits, `.`, `-` and `_` only.
    ///
    /// The text does not contain `bound_to`: [`verify`](Self::verify) needs the same value again.
    pub(crate) fn sign(&self, contents: impl AsRef<[u8]>, bound_to: Option<&str>) -> String {
        let contents = URL_SAFE_NO_PAD.encode(contents);
        let signed = format!("{}.{}.{contents}", self.prefix, self.current.id);
        let code = URL_SAFE_NO_PAD.encode(self.current.code(&signed, bound_to).finalize().into_bytes());
        format!("{signed}.{code}")
    }

    /// The contents of a text that one of the keys signed for the same `bound_to`, or the reason for the rejection.
    pub(crate) fn verify(&self, text: &str, bound_to: Option<&str>) -> Result<String, &'static str> {
        let (signed, code) = text.rsplit_once('.').ok_or("it has no signature")?;
        let [prefix, id, contents] = signed.split('.').collect::<Vec<_>>()[..] else {
            return Err("it does not have four parts");
        };
        if prefix != self.prefix {
            return Err("it was signed for another purpose or by another version");
        }
        let key = self.all().find(|key| key.id == id).ok_or("no key has its id")?;
        // Each code has exactly one encoding: the engine rejects padding and trailing bits.
        let code = URL_SAFE_NO_PAD.decode(code).map_err(|_| "the signature is not base64url")?;
        key.code(signed, bound_to).verify_slice(&code).map_err(|_| "the signature differs")?;
        let contents = URL_SAFE_NO_PAD.decode(contents).map_err(|_| "the contents are not base64url")?;
        String::from_utf8(contents).map_err(|_| "the contents are not UTF-8")
    }

    fn all(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

impl SigningKey {
    fn new(id: String, secret: &[u8]) -> Result<Self> {
        let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let fault = if !plain || !(1..=32).contains(&id.len()) {
            "the id of a signing key is 1 to 32 letters, digits and `-`"
        } else if secret.len() < MIN_SECRET_BYTES {
            "a signing key has at least 32 bytes; make one with `openssl rand -base64 32`"
        } else {
            return Ok(Self { id, secret: secret.to_vec().into() });
        };
        Err(Error::new(ErrorKind::Misconfigured, fault))
    }

    fn code(&self, signed: &str, bound_to: Option<&str>) -> Hmac<Sha256> {
        // The signed text contains the prefix, so a code of one purpose does not verify for another.
        let mut code = Hmac::<Sha256>::new_from_slice(self.secret.expose_secret())
            .expect("a key of any length is a key for HMAC");
        code.update(signed.as_bytes());
        // The signed text always has three parts, so `bound_to` as the fourth is unambiguous.
        if let Some(bound_to) = bound_to {
            code.update(b".");
            code.update(bound_to.as_bytes());
        }
        code
    }
}

/// Writes the ids of the keys, never the secrets.
impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().map(|key| &key.id)).finish()
    }
}
