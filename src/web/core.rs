use std::sync::Arc;

use tracing::{Span, info_span};

use crate::resolve::{RequestView, ResolveFuture, Resolver};

/// What a middleware asks of every request, whatever its framework; `V` is the framework's header value.
#[derive(Debug)]
pub(super) struct MiddlewareCore<V> {
    resolver: Arc<Resolver>,
    resolve: fn(&Resolver, &dyn RequestView) -> ResolveFuture,
    vary: Option<V>,
}

impl<V: for<'a> TryFrom<&'a str>> MiddlewareCore<V> {
    /// Through which only those come who prove who is calling.
    pub(super) fn proven(resolver: Arc<Resolver>) -> Self {
        Self::over(resolver, Resolver::resolve)
    }

    /// Through which everybody comes who names a tenant.
    pub(super) fn selected(resolver: Arc<Resolver>) -> Self {
        Self::over(resolver, Resolver::resolve_unauthenticated)
    }

    fn over(resolver: Arc<Resolver>, resolve: fn(&Resolver, &dyn RequestView) -> ResolveFuture) -> Self {
        let names: Vec<&str> = resolver.vary().collect();
        // A source of your own may name what is no header: then nothing says for whom else a response is good.
        let vary = |names: &str| V::try_from(names).or_else(|_| V::try_from("*")).ok();
        let vary = if names.is_empty() { None } else { vary(&names.join(", ")) };
        Self { resolver, resolve, vary }
    }

    /// The span of a request that is not, or not yet, a tenant's.
    pub(super) fn span() -> Span {
        info_span!("tenant", tenant.id = %"unknown")
    }

    pub(super) fn resolve(&self, request: &dyn RequestView) -> ResolveFuture {
        (self.resolve)(&self.resolver, request)
    }

    /// The headers that decide the tenant, as the value of `Vary`.
    pub(super) fn vary(&self) -> Option<&V> {
        self.vary.as_ref()
    }
}
