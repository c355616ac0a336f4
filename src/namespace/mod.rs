//! Tenant-prefixed names outside the database: cache keys, object paths, channels, locks, idempotency keys.
//!
//! A [`TenantContext`] creates each name, and the name contains the tenant id. Two tenants never share a name,
//! whatever parts they pass. Each purpose has its own type, and no type can be created from a string.
//!
//! ```
//! # use std::sync::Arc;
//! # use tenancy::context::{Actor, TenantDirectory};
//! # use tenancy::{plan::Catalog, store::MemoryStore, tenant::{NewTenant, Slug, TenantStatus, TenantStore}};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
//! # let store = Arc::new(MemoryStore::new());
//! # let catalog = Arc::new(Catalog::from_toml("version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }")?);
//! # let acme = store.insert(NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active)).await?;
//! # let ctx = TenantDirectory::new(store, catalog).context(acme.id(), Actor::system("docs")).await?;
//! let cached = ctx.key(("order", 42))?;
//! let file = ctx.object_path(("reports", 2026, "../../globex/jan.pdf"))?; // `..` and `/` are escaped
//! let channel = ctx.channel("orders")?;
//! let lock = ctx.lock_key(("invoice", 7))?;
//!
//! assert_eq!(cached.to_string(), format!("t1:36-{}:3-key:5-order:2-42", ctx.tenant_id()));
//! assert!(file.as_str().ends_with("/7-reports/4-2026/34-_2e_2e_2f_2e_2e_2fglobex_2fjan.pdf"));
//! # let _ = (channel, lock); Ok(()) }
//! ```
//!
//! # Encoding
//! A name consists of fields: the version `t1`, then the tenant id, the purpose and each part. The separator is `:`,
//! or `/` in an object path, or `.` in a channel.
//!
//! Each field after the version is its escaped length, `-`, and its escaped text. ASCII letters, digits and `-` are
//! unchanged; any other byte becomes `_` and two hex digits. A `.` is unchanged if a letter or a digit follows,
//! except in a channel. The encoding is unambiguous: a different tenant, purpose or list of parts yields a different
//! name.
//!
//! A name contains no character that is special in Redis, NATS, PostgreSQL or S3: no wildcard, brace, quote, `%` or
//! space.
//!
//! # Security
//! Parts are compared as text: `42` and `"42"` yield the same name. The parts are readable in the name, so do not put
//! a secret there. The context of a cross-tenant read cannot create names, because a name permits writes.
//!
//! ```compile_fail
//! let key: tenancy::namespace::CacheKey = "order:42".into();
//! ```

mod encoding;
#[cfg(feature = "cache")]
pub mod moka;
mod parts;
#[cfg(feature = "redis")]
pub mod redis;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use self::encoding::NameWriter;
#[cfg(all(feature = "quota", feature = "redis"))]
pub(crate) use self::encoding::hash_tagged;
pub use self::parts::KeyParts;
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The encoded name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The key of a value in a cache or a key-value store, from [`TenantContext::key`].
    CacheKey
}

name! {
    /// The path of an object in an object store such as S3, from [`TenantContext::object_path`].
    ObjectPath
}

name! {
    /// The name of a publish/subscribe channel, topic or subject, from [`TenantContext::channel`].
    Channel
}

name! {
    /// The name of a lock, from [`TenantContext::lock_key`].
    LockKey
}

name! {
    /// The key of a stored response to a request that may be repeated, from [`TenantContext::idempotency`].
    IdempotencyKey
}

/// The maximum length of an object key in S3, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// The maximum length of an idempotency key from a client, in bytes.
const MAX_CLIENT_KEY_BYTES: usize = 255;

impl TenantContext {
    /// Creates the key of a value in a cache or a key-value store.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `parts` is empty; [`ErrorKind::CrossTenantContext`] for the context of a
    /// cross-tenant read.
    pub fn key(&self, parts: impl KeyParts) -> Result<CacheKey> {
        self.name(':', Purpose::CacheKey, &parts).map(CacheKey)
    }

    /// Creates the path of an object, such as an uploaded file.
    ///
    /// Each part is one segment: `/` and `..` in it are escaped. The last segment is not a display name: keep the
    /// file's name in a column, or in `Content-Disposition`.
    ///
    /// # Errors
    /// As [`key`](Self::key), and [`ErrorKind::InvalidInput`] if the path is longer than the 1024 bytes that S3
    /// allows.
    pub fn object_path(&self, parts: impl KeyParts) -> Result<ObjectPath> {
        let path = self.name('/', Purpose::Object, &parts)?;
        if path.len() > MAX_PATH_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "this object's path has {} bytes, and an object store allows {MAX_PATH_BYTES}; use a shorter name, \
                     such as an id",
                    path.len()
                ),
            ));
        }
        Ok(ObjectPath(path))
    }

    /// Creates the name of a channel for messages within the tenant, in Redis, NATS or PostgreSQL.
    ///
    /// PostgreSQL limits the length of a channel: see [`Channel::notify_name`].
    ///
    /// # Errors
    /// As [`key`](Self::key).
    pub fn channel(&self, parts: impl KeyParts) -> Result<Channel> {
        self.name('.', Purpose::Channel, &parts).map(Channel)
    }

    /// Creates the name of a lock.
    ///
    /// # Errors
    /// As [`key`](Self::key).
    pub fn lock_key(&self, parts: impl KeyParts) -> Result<LockKey> {
        self.name(':', Purpose::Lock, &parts).map(LockKey)
    }

    /// Creates the key under which you store the response to a request with an `Idempotency-Key` header.
    ///
    /// `route` is the route pattern of your code (`/orders/{id}`), or the path if the response depends on the path.
    /// `client_key` is the value of the header.
    ///
    /// ```
    /// # fn store_key(ctx: &tenancy::TenantContext) -> tenancy::Result<()> {
    /// let key = ctx.idempotency("POST", "/orders", "8e03978e-40d5-43e8-bc93-6894a57f9324")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`key`](Self::key), and [`ErrorKind::InvalidInput`] for a client's key that is empty or longer than 255
    /// bytes.
    ///
    /// # Security
    /// All users of a tenant share the same keys. If one user must not read the response to another, store the actor
    /// with the response and compare it.
    pub fn idempotency(&self, method: &str, route: &str, client_key: &str) -> Result<IdempotencyKey> {
        if client_key.is_empty() || client_key.len() > MAX_CLIENT_KEY_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "an idempotency key has 1 to 255 bytes; send a random UUID",
            ));
        }
        self.name(':', Purpose::Idempotency, &(method, route, client_key)).map(IdempotencyKey)
    }

    /// Creates the prefixes that all names of this tenant share, to list or delete them.
    ///
    /// # Errors
    /// [`ErrorKind::CrossTenantContext`] for the context of a cross-tenant read.
    pub fn prefix(&self) -> Result<TenantPrefix> {
        self.reject_cross_tenant()?;
        let writer = |separator| NameWriter::new(self.tenant_id(), separator);
        let mut keys = writer(':');
        keys.push(&Purpose::CacheKey.text());
        Ok(TenantPrefix {
            all: writer(':').into_prefix(),
            keys: keys.into_prefix(),
            objects: writer('/').into_prefix(),
            channels: writer('.').into_prefix(),
        })
    }

    fn name(&self, separator: char, purpose: Purpose, parts: &impl KeyParts) -> Result<Arc<str>> {
        self.reject_cross_tenant()?;
        let mut writer = NameWriter::new(self.tenant_id(), separator);
        writer.push(&purpose.text());
        let mut count = 0;
        parts.each(&mut |part| {
            writer.push(part);
            count += 1;
        });
        if count == 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a name needs at least one part; pass one, such as `(\"order\", id)`",
            ));
        }
        Ok(writer.into_name().into())
    }
}

impl Channel {
    /// A hash of the channel's name, for `LISTEN` and `pg_notify` of PostgreSQL, which allow at most 63 bytes.
    ///
    /// The result has 59 letters, digits and `_`. It contains 224 bits of SHA-256, so collisions are negligible.
    pub fn notify_name(&self) -> String {
        let digest = Sha256::digest(self.0.as_bytes());
        digest[..28].iter().fold("t1_".to_owned(), |name, byte| name + &format!("{byte:02x}"))
    }
}

impl LockKey {
    /// The number of this lock for `pg_advisory_xact_lock` and the other advisory lock functions of PostgreSQL.
    ///
    /// The number is 64 bits of a SHA-256. If two locks collide, which is very unlikely, they exclude each other as
    /// well.
    ///
    /// # Security
    /// Each database has only one space of these numbers: use no advisory locks with other numbers in the same
    /// database.
    pub fn advisory(&self) -> i64 {
        let digest = Sha256::digest(self.0.as_bytes());
        digest[..8].iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
    }
}

/// The prefixes of all names of one tenant, from [`TenantContext::prefix`].
///
/// Every name with such a prefix belongs to this tenant: names of `acme2` do not start with a prefix of `acme`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantPrefix {
    all: String,
    keys: String,
    objects: String,
    channels: String,
}

impl TenantPrefix {
    /// The prefix of each [`CacheKey`], [`LockKey`] and [`IdempotencyKey`].
    pub fn all(&self) -> &str {
        &self.all
    }

    /// The prefix of each [`CacheKey`] only, to flush a cache without releasing locks.
    pub fn keys(&self) -> &str {
        &self.keys
    }

    /// The prefix of each [`ObjectPath`]. It ends with `/`.
    pub fn objects(&self) -> &str {
        &self.objects
    }

    /// The prefix of each [`Channel`]. Append `*` for a pattern of `PSUBSCRIBE`, or `>` for one of NATS.
    pub fn channels(&self) -> &str {
        &self.channels
    }
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    CacheKey,
    Object,
    Channel,
    Lock,
    Idempotency,
}

impl Purpose {
    const fn text(self) -> &'static str {
        match self {
            Self::CacheKey => "key",
            Self::Object => "object",
            Self::Channel => "channel",
            Self::Lock => "lock",
            Self::Idempotency => "idempotency",
        }
    }
}
