//! A tenant that is pinned to a region is served by processes of that region only, on every way to a context.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::get;
use tenancy::context::{Actor, Envelope, Job, JobKeys, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::resolve::{HostSource, Resolver};
use tenancy::tenant::{Region, TenantStore};
use tenancy::web::TenantLayer;
use tenancy::{ErrorKind, TenantContext};

use crate::fixture::{Fixture, bearer, get_from, send, tokens};

#[derive(serde::Serialize, serde::Deserialize)]
struct Report;

impl Job for Report {
    const NAME: &'static str = "report";
}

fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

#[tokio::test]
async fn a_process_of_another_region_answers_421_by_name() {
    let fixture = Fixture::new().await;
    fixture.store.update(&fixture.acme.with_region(Some(region("eu")))).await.unwrap();
    let catalog = Arc::new(Catalog::from_toml("version = 1\n[plans.free]").unwrap());
    let keys = JobKeys::new("one", [7; 32]).unwrap();
    let everywhere = TenantDirectory::new(fixture.store.clone(), catalog);
    let home = everywhere.clone().region(region("eu"));
    let ctx = home.context(fixture.acme.id(), Actor::user("ada")).await.unwrap();
    let job = Envelope::new(&ctx, &Report).sign(&keys).unwrap();

    for (directory, serves_acme) in
        [(home, true), (everywhere.clone().region(region("us")), false), (everywhere, false)]
    {
        let resolver = Resolver::new(directory.clone())
            .source(HostSource::new(["example.com"]).unwrap())
            .source(tokens());
        let who = async |ctx: TenantContext| ctx.tenant().slug().to_string();
        let app = Router::new().route("/", get(who)).layer(TenantLayer::new(Arc::new(resolver)));
        for (tenant, served) in [(&fixture.acme, serves_acme), (&fixture.globex, true)] {
            let request = get_from(&format!("{}.example.com", tenant.slug()), "/");
            let answer =
                send(&app, request.header("authorization", bearer(tenant)).body(Body::empty()).unwrap())
                    .await;
            if served {
                assert_eq!((answer.status, &*answer.body), (StatusCode::OK, tenant.slug().as_str()));
            } else {
                assert_eq!(
                    (answer.status, &*answer.code()),
                    (StatusCode::MISDIRECTED_REQUEST, "wrong-region")
                );
                assert!(answer.body.contains("`eu`"), "{}", answer.body);
            }
        }
        let kinds = [
            directory.context(fixture.acme.id(), Actor::user("ada")).await.err().map(|error| error.kind()),
            directory.refresh(&ctx).await.err().map(|error| error.kind()),
            keys.open::<Report>(&directory, &job).await.err().map(|error| error.kind()),
        ];
        assert_eq!(kinds, [(!serves_acme).then_some(ErrorKind::WrongRegion); 3]);
        assert!(directory.context(fixture.globex.id(), Actor::user("ada")).await.is_ok());
    }
}

#[test]
fn a_region_is_a_plain_name() {
    for bad in ["", "EU", "eu west", "eu/1", "ü", &"e".repeat(33)] {
        assert_eq!(Region::parse(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
    }
    assert_eq!(Region::parse("us-east-1").unwrap().to_string(), "us-east-1");
}
