//! What the middleware of all frameworks shares: the resolver, and the value of `Vary`.

use std::sync::Arc;

use tracing::warn;

use crate::resolve::{RequestView, ResolveFuture, Resolver};

/// The part of the middleware that does not depend on the framework. `V` is the framework's type of header values.
#[derive(Debug)]
pub(super) struct MiddlewareCore<V> {
    resolver: Arc<Resolver>,
    resolve: fn(&Resolver, &dyn RequestView) -> ResolveFuture,
    vary: Option<V>,
}

impl<V: for<'a> TryFrom<&'a str>> MiddlewareCore<V> {
    /// Requires a verified credential.
    pub(super) fn authenticated(resolver: Arc<Resolver>) -> Self {
        if !resolver.verifies() {
            warn!(
                ?resolver,
                "no source of the resolver verifies a credential, so this layer answers every request 401; add a source \
                 such as `JwtSource`, or use `allow_unauthenticated` for public pages"
            );
        }
        Self::with(resolver, Resolver::resolve)
    }

    /// Accepts every request that names a tenant.
    pub(super) fn unauthenticated(resolver: Arc<Resolver>) -> Self {
        Self::with(resolver, Resolver::resolve_unauthenticated)
    }

    fn with(resolver: Arc<Resolver>, resolve: fn(&Resolver, &dyn RequestView) -> ResolveFuture) -> Self {
        let names: Vec<&str> = resolver.vary().collect();
        // If a custom source returns an invalid header name, `*` makes the response unfit for every other request.
        let vary = |names: &str| V::try_from(names).or_else(|_| V::try_from("*")).ok();
        let vary = if names.is_empty() { None } else { vary(&names.join(", ")) };
        Self { resolver, resolve, vary }
    }

    pub(super) fn resolve(&self, request: &dyn RequestView) -> ResolveFuture {
        (self.resolve)(&self.resolver, request)
    }

    /// The headers that decide the tenant, as the value of `Vary`.
    pub(super) fn vary(&self) -> Option<&V> {
        self.vary.as_ref()
    }
}
