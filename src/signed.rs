//! Texts that only a holder of a key can have made: HMAC-SHA256 over what they are for, the key's id and the contents.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};

/// The keys of one purpose. The first signs; all of them prove.
pub(crate) struct SigningKeys {
    /// What a signed text begins with: another purpose or version has another one.
    prefix: &'static str,
    signs: SigningKey,
    others: Vec<SigningKey>,
}

struct SigningKey {
    id: String,
    secret: SecretSlice<u8>,
}

/// A secret shorter than the code it makes is the easier one to guess.
const SHORTEST_SECRET: usize = 32;

impl SigningKeys {
    pub(crate) fn new(prefix: &'static str, id: String, secret: &[u8]) -> Result<Self> {
        Ok(Self { prefix, signs: SigningKey::new(id, secret)?, others: Vec::new() })
    }

    pub(crate) fn also(mut self, id: String, secret: &[u8]) -> Result<Self> {
        let key = SigningKey::new(id, secret)?;
        if self.all().any(|known| known.id == key.id) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "two signing keys have the same id; give each its own",
            ));
        }
        self.others.push(key);
        Ok(self)
    }

    /// The signed text: letters, digits, `.`, `-` and `_`. What it is bound to is not in it, and has to be there again.
    pub(crate) fn sign(&self, contents: impl AsRef<[u8]>, bound_to: Option<&str>) -> String {
        let contents = URL_SAFE_NO_PAD.encode(contents);
        let signed = format!("{}.{}.{contents}", self.prefix, self.signs.id);
        let code = URL_SAFE_NO_PAD.encode(self.signs.code(&signed, bound_to).finalize().into_bytes());
        format!("{signed}.{code}")
    }

    /// The contents of a text that one of the keys signed, bound to just this, or why they are not to be believed.
    pub(crate) fn verify(&self, text: &str, bound_to: Option<&str>) -> Result<String, &'static str> {
        let (signed, code) = text.rsplit_once('.').ok_or("it has no signature")?;
        let [prefix, id, contents] = signed.split('.').collect::<Vec<_>>()[..] else {
            return Err("it does not have four parts");
        };
        if prefix != self.prefix {
            return Err("it was signed for another purpose or by another version");
        }
        let key = self.all().find(|key| key.id == id).ok_or("no key has its id")?;
        // One text for each code: the engine takes no padding and no stray bits.
        let code = URL_SAFE_NO_PAD.decode(code).map_err(|_| "the signature does not read")?;
        key.code(signed, bound_to).verify_slice(&code).map_err(|_| "the signature is another one")?;
        let contents = URL_SAFE_NO_PAD.decode(contents).map_err(|_| "the contents do not read")?;
        String::from_utf8(contents).map_err(|_| "the contents are no text")
    }

    fn all(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.signs).chain(&self.others)
    }
}

impl SigningKey {
    fn new(id: String, secret: &[u8]) -> Result<Self> {
        let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let fault = if !plain || !(1..=32).contains(&id.len()) {
            "the id of a signing key is 1 to 32 letters, digits and `-`"
        } else if secret.len() < SHORTEST_SECRET {
            "a signing key has at least 32 bytes; make one with `openssl rand -base64 32`"
        } else {
            return Ok(Self { id, secret: secret.to_vec().into() });
        };
        Err(Error::new(ErrorKind::Misconfigured, fault))
    }

    fn code(&self, signed: &str, bound_to: Option<&str>) -> Hmac<Sha256> {
        // The prefix stands in what is signed, so the code is of no use elsewhere, nor one from elsewhere here.
        let mut code = Hmac::<Sha256>::new_from_slice(self.secret.expose_secret())
            .expect("a key of any length is a key for HMAC");
        code.update(signed.as_bytes());
        // What is signed has three parts, always, so a fourth is never taken for one of them.
        if let Some(bound_to) = bound_to {
            code.update(b".");
            code.update(bound_to.as_bytes());
        }
        code
    }
}

/// The ids, and nothing else.
impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().map(|key| &key.id)).finish()
    }
}
