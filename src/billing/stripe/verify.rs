//! [`SigningSecrets`]: verifies the `Stripe-Signature` header of a webhook.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// The default tolerance, which is that of Stripe's own SDKs.
const TOLERANCE_SECONDS: u64 = 300;
/// The longest `Stripe-Signature` header that is parsed, in bytes.
const MAX_HEADER: usize = 4096;
/// The most signatures of one header that are compared.
const MAX_CANDIDATES: usize = 16;

/// The signing secrets of your webhook endpoints. While you rotate a secret, pass both the old and the new one.
///
/// ```
/// use tenancy::billing::stripe::{SigningSecrets, sign};
/// use tenancy::clock::Timestamp;
///
/// let secrets = SigningSecrets::new(["whsec_example"])?;
/// let now = Timestamp::from_seconds(1_700_000_000);
/// let header = sign("whsec_example", b"{}", now);
/// secrets.verify(b"{}", &[header.as_bytes()], now)?;
/// assert!(secrets.verify(b"{ }", &[header.as_bytes()], now).is_err());
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Clone)]
pub struct SigningSecrets {
    secrets: Vec<SecretString>,
    /// The largest difference between the time in the signature and the current time, in either direction.
    tolerance_seconds: u64,
}

impl SigningSecrets {
    /// The secrets as Stripe shows them, `whsec_` included.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is no secret, or if one is empty or contains white space: anyone can
    /// sign with an empty secret.
    pub fn new<S: Into<String>>(secrets: impl IntoIterator<Item = S>) -> Result<Self> {
        let secrets: Vec<String> = secrets.into_iter().map(Into::into).collect();
        if secrets.is_empty() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "there is no webhook signing secret; pass the secret of your endpoint, which begins with whsec_",
            ));
        }
        if secrets.iter().any(|secret| secret.is_empty() || secret.contains(char::is_whitespace)) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "a webhook signing secret is empty or contains white space; check the variable that it comes from",
            ));
        }
        if secrets.iter().any(|secret| !secret.starts_with("whsec_")) {
            tracing::warn!("a webhook signing secret does not begin with whsec_; is it an API key?");
        }
        Ok(Self {
            secrets: secrets.into_iter().map(SecretString::from).collect(),
            tolerance_seconds: TOLERANCE_SECONDS,
        })
    }

    /// Sets how far the time in a signature may be from the current time, in either direction; 5 minutes by default.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenancy::billing::stripe::SigningSecrets;
    ///
    /// let secrets = SigningSecrets::new(["whsec_example"])?.tolerance(Duration::from_mins(1))?;
    /// assert!(secrets.tolerance(Duration::ZERO).is_err());
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the tolerance is shorter than a second: times in signatures are whole seconds.
    ///
    /// # Security
    /// Whoever records a request can send it again within the tolerance. Every event is applied once all the same, as
    /// long as its id is stored.
    pub fn tolerance(self, tolerance: Duration) -> Result<Self> {
        match tolerance.as_secs() {
            0 => Err(Error::new(
                ErrorKind::Misconfigured,
                "the tolerance of webhook signatures is shorter than a second; set one second or more",
            )),
            tolerance_seconds => Ok(Self { tolerance_seconds, ..self }),
        }
    }

    /// Verifies that Stripe signed exactly this body within the [tolerance](Self::tolerance) of `now`.
    ///
    /// `headers` are the values of all `Stripe-Signature` headers of the request. `body` contains the bytes as
    /// received: before any JSON extractor, decompression or change of line endings.
    ///
    /// # Errors
    /// [`ErrorKind::SignatureInvalid`], always with the same text. The reason is logged at level `DEBUG`.
    ///
    /// # Security
    /// Stricter than Stripe's own SDKs: a time beyond the tolerance in the future, a second time, a time that is
    /// not plain digits, a second header, an oversized header and more than 16 signatures are rejected. The signature
    /// is computed over the time exactly as sent, and compared in constant time, with every secret, without an early
    /// exit.
    pub fn verify(&self, body: &[u8], headers: &[&[u8]], now: Timestamp) -> Result<()> {
        self.check(body, headers, now).map_err(|reason| {
            tracing::debug!(reason, "a webhook signature was rejected");
            Error::new(ErrorKind::SignatureInvalid, "the webhook's signature does not prove its body")
        })
    }

    fn check(&self, body: &[u8], headers: &[&[u8]], now: Timestamp) -> Result<(), &'static str> {
        let header = match headers {
            [header] => Header::parse(header)?,
            [] => return Err("there is no Stripe-Signature header"),
            _ => return Err("there are several Stripe-Signature headers"),
        };
        let mut verified = false;
        for (index, secret) in self.secrets.iter().enumerate() {
            let code = code(secret.expose_secret(), header.time, body);
            for candidate in &header.candidates {
                let equal = code.clone().verify_slice(candidate).is_ok();
                if equal {
                    tracing::trace!(secret.index = index, "a webhook signature was verified");
                }
                verified |= equal;
            }
        }
        if !verified {
            return Err("no signature matches a secret");
        }
        let difference = now.seconds().abs_diff(header.seconds);
        if difference > self.tolerance_seconds {
            return Err(if header.seconds < now.seconds() {
                "the signature is too old"
            } else {
                "the signature is from the future"
            });
        }
        Ok(())
    }
}

/// Shows the number of secrets only.
impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecrets({} redacted)", self.secrets.len())
    }
}

/// Returns the `Stripe-Signature` header that Stripe would send with this body: for tests and demonstrations.
///
/// # Panics
/// If `at` is before 1970.
pub fn sign(secret: &str, body: &[u8], at: Timestamp) -> String {
    let time = at.seconds().to_string();
    assert!(at.seconds() >= 0, "Stripe signs no time before 1970");
    format!("t={time},v1={}", hex(&code(secret, &time, body).finalize().into_bytes()))
}

/// Encodes bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes every write");
    }
    text
}

fn code(secret: &str, time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut code =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length is a key for HMAC");
    code.update(time.as_bytes());
    code.update(b".");
    code.update(body);
    code
}

/// A well-formed header.
struct Header<'a> {
    /// The time exactly as sent: the signature covers this text, not the number.
    time: &'a str,
    seconds: i64,
    candidates: Vec<[u8; 32]>,
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if bytes.len() > MAX_HEADER {
            return Err("the header is too long");
        }
        if !bytes.iter().all(u8::is_ascii_graphic) {
            return Err("the header contains bytes other than visible ASCII");
        }
        let text = str::from_utf8(bytes).map_err(|_| "the header is not ASCII")?;
        let mut times = Vec::new();
        let mut count = 0;
        let mut candidates = Vec::new();
        for item in text.split(',') {
            // Items of other schemes and malformed items are ignored.
            match item.split_once('=') {
                Some(("t", value)) => times.push(value),
                Some(("v1", value)) => {
                    count += 1;
                    candidates.extend(unhex(value));
                }
                _ => {}
            }
        }
        if count > MAX_CANDIDATES {
            return Err("the header contains too many signatures");
        }
        let [time] = times[..] else { return Err("the header contains no time, or several") };
        if time.is_empty() || time.starts_with('0') || !time.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("the time is not a plain number");
        }
        let seconds = time.parse().map_err(|_| "the time is out of range")?;
        if candidates.is_empty() {
            return Err("the header contains no signature of scheme v1");
        }
        Ok(Self { time, seconds, candidates })
    }
}

/// Decodes 64 lower-case hexadecimal digits, as Stripe writes them; anything else is not a signature.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
