//! Fixture: a server of actix-web.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::web::{resource, to};
use actix_web::{App, HttpServer};
use tenancy::TenantContext;
use tenancy::resolve::{Resolver, TlsInfo};
use tenancy::web::TenantMiddleware;

use crate::fixture::said_of;

pub(super) fn serve(resolver: Arc<Resolver>, tls: TlsInfo) -> SocketAddr {
    let app = move || {
        let proven = TenantMiddleware::new(resolver.clone());
        let public = TenantMiddleware::allow_unauthenticated(resolver.clone());
        let mut app = App::new().route("/health", to(async || "up")).route("/forgotten", to(who));
        for path in ["/orders", "/t/{tenant}/orders"] {
            app = app.service(resource(path).wrap(proven.clone()).route(to(who)));
        }
        for path in ["/login", "/t/{tenant}/login"] {
            app = app.service(resource(path).wrap(public.clone()).route(to(who)));
        }
        app
    };
    let server = HttpServer::new(app)
        .on_connect(move |_, connection| {
            connection.insert(tls.clone());
        })
        .workers(1)
        .disable_signals()
        .bind_auto_h2c("127.0.0.1:0")
        .unwrap();
    let at = server.addrs()[0];
    tokio::spawn(server.run());
    at
}

async fn who(ctx: TenantContext) -> String {
    said_of(&ctx)
}
