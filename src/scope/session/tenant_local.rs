//! Thread-local values: the tenant whose row is being decoded, and the tenant whose statement is being bound.
//!
//! Only `ForeignKey` reads them.
//!
//! sqlx passes neither tenant to `Decode` and `Encode`. Both are synchronous, so a thread-local value that is set
//! around one call is enough.

use std::cell::RefCell;
use std::thread::LocalKey;

use crate::tenant::TenantId;

type Tenant = RefCell<Option<TenantId>>;

thread_local! {
    static DECODING: Tenant = const { RefCell::new(None) };
    static ENCODING: Tenant = const { RefCell::new(None) };
}

/// Runs `work`, which decodes rows of this tenant.
pub(in crate::scope) fn decoding_for<R>(tenant: &TenantId, work: impl FnOnce() -> R) -> R {
    within(&DECODING, tenant, work)
}

/// Runs `work`, which encodes values for a statement of this tenant.
pub(in crate::scope) fn encoding_for<R>(tenant: &TenantId, work: impl FnOnce() -> R) -> R {
    within(&ENCODING, tenant, work)
}

/// The tenant whose row is being decoded.
pub(in crate::scope) fn decoding() -> Option<TenantId> {
    DECODING.with_borrow(Clone::clone)
}

/// Whether the statement that is being bound belongs to `tenant`; `None` outside of [`encoding_for`].
pub(in crate::scope) fn is_encoding_for(tenant: &TenantId) -> Option<bool> {
    ENCODING.with_borrow(|bound| bound.as_ref().map(|bound| bound == tenant))
}

fn within<R>(local: &'static LocalKey<Tenant>, tenant: &TenantId, work: impl FnOnce() -> R) -> R {
    struct Restore(&'static LocalKey<Tenant>, Option<TenantId>);
    impl Drop for Restore {
        fn drop(&mut self) {
            self.0.set(self.1.take());
        }
    }
    let _restore = Restore(local, local.replace(Some(tenant.clone())));
    work()
}
