//! The futures of operations are `Send`: a task and an HTTP handler can run them.

use sqlx::{Postgres, Sqlite};
use tenancy::context::Actor;
use tenancy::operations::{Manifest, TenantData};
use tenancy::placement::Provisioner;
use tenancy::tenant::{NewTenant, Placement, Slug};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::operations_fixture::Shop;

fn is_send<T: Send>(_: &T) {}

/// Creates each future, and runs none of them.
fn check<DB: TenantData>(
    provisioner: &Provisioner<DB>,
    new: &NewTenant,
    [upload, again]: [impl AsyncRead + Unpin + Send; 2],
    writer: impl AsyncWrite + Unpin + Send,
) {
    let (ada, slug) = (Actor::user("ada"), Slug::parse("acme").unwrap());
    let id = new.clone().into_tenant().id().clone();
    is_send(&provisioner.export(&id).write_to(writer));
    is_send(&provisioner.import(upload, new.clone(), &ada));
    is_send(&provisioner.restore(&id, again));
    is_send(&async { provisioner.restore(&id, &b""[..]).await?.apply(&slug, &ada).await });
    let deletion = provisioner.deletion(&id, &ada);
    is_send(&deletion.plan());
    is_send(&deletion.run(&slug));
    let movement = provisioner.move_to(&id, Placement::Shared, &ada);
    is_send(&movement.plan());
    is_send(&movement.run(|_| {}));
    is_send(&movement.roll_back());
    is_send(&provisioner.unfinished_moves());
}

/// A task imports what another one exports, through a pipe.
macro_rules! spawned {
    ($name:ident, $db:ty) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let mut shop = Shop::<$db>::new().await;
            let acme = shop.tenant("acme", |new| new).await;
            let globex = shop.tenant("globex", |new| new).await;
            let theirs = shop.hashes(&globex).await;
            let new = NewTenant::new(Slug::parse("copy").unwrap(), "Copy", "free");
            check(&shop.provisioner, &new, [&b""[..]; 2], Vec::new());
            let (writer, reader) = tokio::io::duplex(4096);
            let (provisioner, id) = (shop.provisioner.clone(), acme.id().clone());
            let export = tokio::spawn(async move { provisioner.export(&id).write_to(writer).await });
            let provisioner = shop.provisioner.clone();
            let import =
                tokio::spawn(async move { provisioner.import(reader, new, &Actor::user("ada")).await });
            let manifest: Manifest = export.await.unwrap().unwrap();
            let imported = import.await.unwrap().unwrap();
            let rows = manifest.tables.iter().find(|table| table.name == "projects").unwrap().rows;
            assert_eq!(shop.hashes(&imported.tenant).await["projects"].0, rows);
            assert_eq!(shop.hashes(&globex).await, theirs, "another tenant is unchanged");
        }
    };
}

spawned!(a_task_runs_an_operation_on_sqlite, Sqlite);
spawned!(a_task_runs_an_operation_on_postgres, Postgres);
