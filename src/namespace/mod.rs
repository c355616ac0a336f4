//! Names for what is a tenant's outside of its tables: in a cache, an object store, a channel, under a lock.
//!
//! A name is made of a [`TenantContext`] and holds its tenant, so two tenants never meet under one, whatever its parts
//! are. Each purpose has a type of its own, and none is made of a text.
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
//! let file = ctx.object_path(("reports", 2026, "../../globex/jan.pdf"))?; // a name like any other
//! let room = ctx.channel("orders")?;
//! let lock = ctx.lock_key(("invoice", 7))?;
//!
//! assert_eq!(cached.to_string(), format!("t1:36-{}:3-key:5-order:2-42", ctx.tenant_id()));
//! assert!(file.as_str().ends_with("/7-reports/4-2026/34-_2e_2e_2f_2e_2e_2fglobex_2fjan.pdf"));
//! # let _ = (room, lock); Ok(()) }
//! ```
//!
//! # How a name is written
//! `t1`, the version; then the tenant's id, the purpose and each part. Each is the length of what follows, `-`, and its
//! text, in which every byte but ASCII letters, digits and `-` is `_` and two hex digits. A `.` stays if a letter or a
//! digit follows. Between them stands `:`, `/` in an object's path, `.` in a channel, where no `.` stays. So a name reads
//! back in one way only: other tenants, purposes or parts make another name.
//!
//! Nothing in it means something to Redis, NATS, PostgreSQL or S3: no wildcard, no brace, no quote, no `%`, no space.
//!
//! # Security
//! Two parts are the same if their texts are: `42` and `"42"`. What is in a part can be read back, so put no secret
//! there. A context of a cross-tenant read makes no names: by one, things could be changed.
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

use self::encoding::Writer;
pub use self::parts::KeyParts;
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
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
    /// The key of a value in a cache or a key-value store: see [`TenantContext::key`].
    CacheKey
}

name! {
    /// The path of an object in a store such as S3: see [`TenantContext::object_path`].
    ObjectPath
}

name! {
    /// A channel, room, topic or subject: see [`TenantContext::channel`].
    Channel
}

name! {
    /// What is locked: see [`TenantContext::lock_key`].
    LockKey
}

name! {
    /// Under what the answer to a request is kept, for when it is sent again: see [`TenantContext::idempotency`].
    IdempotencyKey
}

/// The longest key of an object in S3, in bytes.
const LONGEST_PATH: usize = 1024;

/// The longest idempotency key that a client may send, in bytes.
const LONGEST_CLIENT_KEY: usize = 255;

impl TenantContext {
    /// The key of a value in a cache or a key-value store.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] without any part; [`ErrorKind::CrossTenantContext`] for a context that belongs to a cross-tenant read
    /// across tenants.
    pub fn key(&self, parts: impl KeyParts) -> Result<CacheKey> {
        self.name(':', Purpose::CacheKey, &parts).map(CacheKey)
    }

    /// The path of an object, such as a file that was uploaded. Each part is one segment, whatever is in it: a `/` or
    /// `..` in one leads nowhere.
    ///
    /// The last segment is no name to show to people: keep that one in a column, or in `Content-Disposition`.
    ///
    /// # Errors
    /// As [`key`](Self::key), and [`ErrorKind::InvalidInput`] if the path has more than the 1024 bytes that S3 takes.
    pub fn object_path(&self, parts: impl KeyParts) -> Result<ObjectPath> {
        let path = self.name('/', Purpose::Object, &parts)?;
        if path.len() > LONGEST_PATH {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "this object's path has {} bytes, and an object store takes {LONGEST_PATH}; use a shorter name, \
                     such as an id",
                    path.len()
                ),
            ));
        }
        Ok(ObjectPath(path))
    }

    /// A channel for messages among the tenant's own, of Redis, NATS or PostgreSQL.
    ///
    /// # Errors
    /// As [`key`](Self::key).
    pub fn channel(&self, parts: impl KeyParts) -> Result<Channel> {
        self.name('.', Purpose::Channel, &parts).map(Channel)
    }

    /// The name of a lock.
    ///
    /// # Errors
    /// As [`key`](Self::key).
    pub fn lock_key(&self, parts: impl KeyParts) -> Result<LockKey> {
        self.name(':', Purpose::Lock, &parts).map(LockKey)
    }

    /// The key for the answer to a request that its client may send again, of the client's `Idempotency-CacheKey`.
    ///
    /// `route` is the route as your code has it (`/orders/{id}`), or the path, if the answer depends on it.
    ///
    /// ```
    /// # fn kept(ctx: &tenancy::TenantContext) -> tenancy::Result<()> {
    /// let key = ctx.idempotency("POST", "/orders", "8e03978e-40d5-43e8-bc93-6894a57f9324")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`key`](Self::key), and [`ErrorKind::InvalidInput`] for a client's key that is empty or has more than 255
    /// bytes.
    ///
    /// # Security
    /// People of one tenant share its keys. Where one must not read the answer to another, compare the actor that was
    /// kept with it.
    pub fn idempotency(&self, method: &str, route: &str, client_key: &str) -> Result<IdempotencyKey> {
        if client_key.is_empty() || client_key.len() > LONGEST_CLIENT_KEY {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "an idempotency key has 1 to 255 bytes; send a random UUID",
            ));
        }
        self.name(':', Purpose::Idempotency, &(method, route, client_key)).map(IdempotencyKey)
    }

    /// What all names of this tenant begin with, and no other tenant's: to list or delete what is the tenant's.
    ///
    /// # Errors
    /// [`ErrorKind::CrossTenantContext`] for a context that belongs to a cross-tenant read.
    pub fn prefix(&self) -> Result<TenantPrefix> {
        self.not_lent()?;
        let of = |separator| Writer::of(self.tenant_id(), separator);
        let mut keys = of(':');
        keys.push(&Purpose::CacheKey.text());
        Ok(TenantPrefix {
            all: of(':').under(),
            keys: keys.under(),
            objects: of('/').under(),
            channels: of('.').under(),
        })
    }

    fn name(&self, separator: char, purpose: Purpose, parts: &impl KeyParts) -> Result<Arc<str>> {
        self.not_lent()?;
        let mut writer = Writer::of(self.tenant_id(), separator);
        writer.push(&purpose.text());
        let mut count = 0;
        parts.each(&mut |part| {
            writer.push(part);
            count += 1;
        });
        if count == 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a name has at least one part; this one has none",
            ));
        }
        Ok(writer.finish().into())
    }
}

impl Channel {
    /// A name for the same channel in 59 letters, digits and `_`, for `LISTEN` and `pg_notify` of PostgreSQL, which take
    /// no more than 63 bytes.
    ///
    /// Two channels have two such names unless SHA-256, cut to 224 bits, collides.
    pub fn notify_name(&self) -> String {
        let digest = Sha256::digest(self.0.as_bytes());
        digest[..28].iter().fold("t1_".to_owned(), |name, byte| name + &format!("{byte:02x}"))
    }
}

impl LockKey {
    /// A number for `pg_advisory_xact_lock` and its siblings.
    ///
    /// These are 64 bits of a SHA-256. Two locks that have the same number, which chance does not bring about, wait for
    /// each other without need; they never fail to exclude.
    ///
    /// # Security
    /// PostgreSQL has one space of such numbers in each database: do not lock numbers of your own beside these.
    pub fn advisory(&self) -> i64 {
        let digest = Sha256::digest(self.0.as_bytes());
        digest[..8].iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
    }
}

/// What all names of one tenant begin with: see [`TenantContext::prefix`].
///
/// A text that begins with it is a name of this tenant: `acme2`'s do not begin with `acme`'s.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantPrefix {
    all: String,
    keys: String,
    objects: String,
    channels: String,
}

impl TenantPrefix {
    /// Of each [`CacheKey`], [`LockKey`] and [`IdempotencyKey`].
    pub fn all(&self) -> &str {
        &self.all
    }

    /// Of each [`CacheKey`] alone, which is what a cache is flushed by: a lock that is held stays.
    pub fn keys(&self) -> &str {
        &self.keys
    }

    /// Of each [`ObjectPath`]; ends with `/`.
    pub fn objects(&self) -> &str {
        &self.objects
    }

    /// Of each [`Channel`]; with `*` behind it a pattern for `PSUBSCRIBE`, with `>` one for NATS.
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
