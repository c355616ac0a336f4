//! The tenant whose row is decoded, or whose statement is bound, on this thread. A `ForeignKey` reads it.
//!
//! sqlx passes a value neither the tenant of its row nor that of its statement. Decoding and encoding are not async, so
//! a thread-local value can carry it: it is set around one call, and no other code runs in between.

use std::cell::RefCell;
use std::thread::LocalKey;

use crate::tenant::TenantId;

type Tenant = RefCell<Option<TenantId>>;

thread_local! {
    static DECODING: Tenant = const { RefCell::new(None) };
    static ENCODING: Tenant = const { RefCell::new(None) };
}

/// Runs `work`, in which rows of this tenant are decoded.
pub(in crate::scope) fn decoding_for<R>(tenant: &TenantId, work: impl FnOnce() -> R) -> R {
    within(&DECODING, tenant, work)
}

/// Runs `work`, in which values of a statement of this tenant are encoded.
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
