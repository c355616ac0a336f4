//! A closed connection is detected before a statement runs on it.

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, Postgres};
use tenancy::scope::Scope;
use tenancy::{TenantDb, TenantScoped};
use uuid::Uuid;

use crate::common::{self, Fixture, Order};

fn order() -> Order {
    Order { id: Uuid::now_v7(), status: "open".to_owned(), total: 1 }
}

/// Ends every other connection of a database, as a restart of the server does.
async fn end_all(conn: &mut PgConnection) -> usize {
    let ended = sqlx::query(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    ended.fetch_all(conn).await.unwrap().len()
}

async fn used(scope: Scope<'_, Postgres>) -> Result<u64, tenancy::Error> {
    Order::count(&scope).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_server_no_query_fails() {
    let fixture = Fixture::<Postgres>::with(tenancy::audit::AuditPolicy::Optional, 1).await;
    let url =
        sqlx::query_scalar::<_, String>("SELECT current_database()").fetch_one(&fixture.pool).await.unwrap();
    let options: sqlx::postgres::PgConnectOptions = common::postgres_url().parse().unwrap();
    let url = sqlx::ConnectOptions::to_url_lossy(&options.database(&url)).to_string();
    let mut outside = PgConnection::connect(&url).await.unwrap();
    let db = TenantDb::postgres(PgPoolOptions::new().min_connections(4).max_connections(4), &url)
        .build()
        .await
        .unwrap();
    Order::insert(&db.scope(&fixture.acme), &order()).await.unwrap();

    for round in 1..=3_u64 {
        // Opens several connections and leaves them idle.
        let at_once = tokio::join!(
            used(db.scope(&fixture.acme)),
            used(db.scope(&fixture.globex)),
            used(db.scope(&fixture.acme)),
            used(db.scope(&fixture.globex))
        );
        assert_eq!(
            (at_once.0.unwrap(), at_once.1.unwrap(), at_once.2.unwrap(), at_once.3.unwrap()),
            (round, 0, round, 0)
        );
        // Two open transactions hold two connections, whatever the pool opened for the reads.
        let (one, two) = (db.begin(&fixture.acme).await.unwrap(), db.begin(&fixture.globex).await.unwrap());
        one.rollback().await.unwrap();
        two.rollback().await.unwrap();
        assert!(end_all(&mut outside).await >= 2);
        // A read, a write and a transaction, each after all connections were closed.
        assert_eq!(Order::count(&db.scope(&fixture.globex)).await.unwrap(), 0);
        end_all(&mut outside).await;
        Order::insert(&db.scope(&fixture.acme), &order()).await.unwrap();
        end_all(&mut outside).await;
        let mut tx = db.begin(&fixture.acme).await.unwrap();
        assert_eq!(Order::count(&mut tx).await.unwrap(), round + 1);
        tx.rollback().await.unwrap();
    }
}

/// A transaction that was cut off is not repeated; the caller gets an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_cut_off_is_an_error_and_keeps_nothing() {
    let fixture = Fixture::<Postgres>::new().await;
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order()).await.unwrap();
    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&fixture.pool).await.unwrap();
    let options: sqlx::postgres::PgConnectOptions = common::postgres_url().parse().unwrap();
    let mut outside = PgConnection::connect_with(&options.database(&name)).await.unwrap();
    end_all(&mut outside).await;
    assert!(Order::insert(&mut tx, &order()).await.is_err());
    assert!(tx.commit().await.is_err());
    assert_eq!(Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), 0);
}
