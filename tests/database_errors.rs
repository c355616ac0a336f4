//! What Postgres says no with becomes an error with a name, and without what it says of rows.

mod common;

use common::{TestBackend, World};
use sqlx::Postgres;
use tenancy::{ErrorKind, query, query_scalar};

const TABLES: &str = "
    CREATE TABLE people (
        tenant_id uuid NOT NULL, id bigint NOT NULL, name varchar(5) NOT NULL, boss bigint, age int CHECK (age > 0),
        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, name),
        FOREIGN KEY (tenant_id, boss) REFERENCES people (tenant_id, id),
        EXCLUDE USING btree (tenant_id WITH =, age WITH =));
    ALTER TABLE people ENABLE ROW LEVEL SECURITY;
    ALTER TABLE people FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON people USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
    CREATE TABLE closed (tenant_id uuid NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id));
    ALTER TABLE closed ENABLE ROW LEVEL SECURITY;
    ALTER TABLE closed FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON closed USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
        WITH CHECK (id > 100);
    CREATE TABLE withheld (tenant_id uuid NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id));
    REVOKE ALL ON withheld FROM CURRENT_USER";

async fn world() -> World<Postgres> {
    let world = World::<Postgres>::new().await;
    Postgres::raw(&world.pool, TABLES).await.unwrap();
    for ctx in [&world.acme, &world.globex] {
        let scope = world.db.scope(ctx);
        query!(&scope, "INSERT INTO people (id, name, age) VALUES (1, 'ada', 40)").execute().await.unwrap();
    }
    world
}

#[tokio::test]
async fn every_no_of_postgres_has_a_name_and_no_detail() {
    let world = world().await;
    let scope = world.db.scope(&world.acme);
    macro_rules! says {
        ($kind:ident, $sql:literal $(, $value:expr)*) => {
            let error = query!(&scope, $sql $(, $value)*).execute().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::$kind, "{}: {error:?}", $sql);
            let whole = format!("{error} {error:?}").to_lowercase();
            assert!(!whole.contains("detail") && !whole.contains("(tenant_id"), "{whole}");
        };
    }
    says!(Conflict, "INSERT INTO people (id, name) VALUES (1, 'bob')");
    says!(Conflict, "INSERT INTO people (id, name) VALUES (2, 'ada')");
    says!(Conflict, "INSERT INTO people (id, name, age) VALUES (2, 'bob', 40)");
    says!(ReferenceViolation, "INSERT INTO people (id, name, boss) VALUES (2, 'bob', 9)");
    says!(InvalidInput, "INSERT INTO people (id) VALUES (2)");
    says!(InvalidInput, "INSERT INTO people (id, name, age) VALUES (2, 'bob', 0)");
    says!(InvalidInput, "INSERT INTO people (id, name) VALUES (2, 'roberta')");
    says!(InvalidInput, "UPDATE people SET age = age / $1", 0_i32);
    says!(Refused, "INSERT INTO closed (id) VALUES (1)");
    says!(Misconfigured, "DELETE FROM withheld WHERE id = 1");
    says!(Misconfigured, "DELETE FROM nowhere WHERE id = 1");
    says!(Misconfigured, "UPDATE people SET nothing = 1");
    assert_eq!(query!(&scope, "INSERT INTO closed (id) VALUES (101)").execute().await.unwrap(), 1);
    // A reference to a row of another tenant is as one to none.
    says!(ReferenceViolation, "INSERT INTO people (id, name, boss) VALUES (2, 'bob', 7)");
    let theirs = world.db.scope(&world.globex);
    query!(&theirs, "INSERT INTO people (id, name, boss) VALUES (7, 'bob', 1)").execute().await.unwrap();
    says!(ReferenceViolation, "INSERT INTO people (id, name, boss) VALUES (2, 'bob', 7)");
    let seen = query_scalar!(&theirs, i64, "SELECT count(*) FROM people").fetch_one().await.unwrap();
    assert_eq!(seen, 2);
}

#[tokio::test]
async fn what_waits_too_long_is_told_apart() {
    let world = world().await;
    let mut one = world.db.begin(&world.acme).await.unwrap();
    query!(&mut one, "UPDATE people SET age = 41 WHERE id = 1").execute().await.unwrap();
    let mut two = world.db.begin(&world.acme).await.unwrap();
    let error = query_scalar!(&mut two, i64, "SELECT id FROM people WHERE id = 1 FOR UPDATE NOWAIT")
        .fetch_one()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error:?}");
    // Nobody else's rows wait for these.
    let theirs = world.db.scope(&world.globex);
    let id =
        query_scalar!(&theirs, i64, "SELECT id FROM people WHERE id = 1 FOR UPDATE NOWAIT").fetch_one().await;
    assert_eq!(id.unwrap(), 1);
    let again = query!(&mut two, "DELETE FROM people WHERE id = 1").execute().await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::RolledBack);
    one.rollback().await.unwrap();
}
