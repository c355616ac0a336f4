//! A database error becomes a named `ErrorKind` and contains no values of rows.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Postgres, Sqlite};
use tenancy::isolation::doctor::Check;
use tenancy::{Error, ErrorKind, TenantDb, TenantScoped, query, query_checked, query_scalar};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Fixture, TestBackend};

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

async fn seeded() -> Fixture<Postgres> {
    let fixture = Fixture::<Postgres>::new().await;
    Postgres::raw(&fixture.pool, TABLES).await.unwrap();
    for ctx in [&fixture.acme, &fixture.globex] {
        let scope = fixture.db.scope(ctx);
        query!(&scope, "INSERT INTO people (id, name, age) VALUES (1, 'ada', 40)").execute().await.unwrap();
    }
    fixture
}

#[tokio::test]
async fn every_error_of_postgres_has_a_kind_and_no_detail() {
    let fixture = seeded().await;
    let scope = fixture.db.scope(&fixture.acme);
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
    says!(SqlRejected, "INSERT INTO closed (id) VALUES (1)");
    says!(Misconfigured, "DELETE FROM withheld WHERE id = 1");
    says!(Misconfigured, "DELETE FROM nowhere WHERE id = 1");
    says!(Misconfigured, "UPDATE people SET nothing = 1");
    assert_eq!(query!(&scope, "INSERT INTO closed (id) VALUES (101)").execute().await.unwrap(), 1);
    // A foreign key to a row of another tenant and one to a missing row produce the same error.
    says!(ReferenceViolation, "INSERT INTO people (id, name, boss) VALUES (2, 'bob', 7)");
    let theirs = fixture.db.scope(&fixture.globex);
    query!(&theirs, "INSERT INTO people (id, name, boss) VALUES (7, 'bob', 1)").execute().await.unwrap();
    says!(ReferenceViolation, "INSERT INTO people (id, name, boss) VALUES (2, 'bob', 7)");
    let seen = query_scalar!(&theirs, i64, "SELECT count(*) FROM people").fetch_one().await.unwrap();
    assert_eq!(seen, 2);
}

#[derive(Debug, Clone, TenantScoped, sqlx::FromRow)]
#[tenant(table = "people")]
struct Person {
    #[tenant(id)]
    id: i64,
    name: String,
    boss: Option<i64>,
    age: Option<i32>,
}

/// Rows that each violate a constraint of `people`, with the constraint's name on PostgreSQL and on SQLite.
fn violations() -> [(Person, ErrorKind, &'static str, Option<&'static str>); 4] {
    let eve = Person { id: 2, name: "eve".to_owned(), boss: None, age: None };
    [
        (
            Person { id: 1, ..eve.clone() },
            ErrorKind::Conflict,
            "people_pkey",
            Some("people.tenant_id, people.id"),
        ),
        (
            Person { name: "ada".to_owned(), ..eve.clone() },
            ErrorKind::Conflict,
            "people_tenant_id_name_key",
            Some("people.tenant_id, people.name"),
        ),
        (
            Person { boss: Some(9), ..eve.clone() },
            ErrorKind::ReferenceViolation,
            "people_tenant_id_boss_fkey",
            None,
        ),
        (Person { age: Some(-77), ..eve }, ErrorKind::InvalidInput, "people_age_check", Some("age > 0")),
    ]
}

#[track_caller]
fn names(error: &Error, kind: ErrorKind, constraint: Option<&str>) {
    assert_eq!((error.kind(), error.constraint()), (kind, constraint), "{error:?}");
    // The text contains neither the constraint name nor a value.
    let whole = format!("{error} {error:?}");
    assert!(!whole.contains("people") && !whole.contains("eve") && !whole.contains("77"), "{whole}");
}

#[tokio::test]
async fn a_violated_constraint_has_a_name_whichever_way_it_was_written() {
    let fixture = seeded().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        let scope = fixture.db.scope(ctx);
        for (person, kind, constraint, _) in violations() {
            let Person { id, name, boss, age } = person.clone();
            let constraint = Some(constraint);
            names(&Person::insert(&scope, &person).await.unwrap_err(), kind, constraint);
            names(&Person::insert_many(&scope, &[person]).await.unwrap_err(), kind, constraint);
            let written = query!(
                &scope,
                "INSERT INTO people (id, name, boss, age) VALUES ($1, $2, $3, $4)",
                id,
                name.as_str(),
                boss,
                age
            );
            names(&written.execute().await.unwrap_err(), kind, constraint);
            let own =
                sqlx::query("INSERT INTO people (id, name, boss, age) VALUES ($1, $2, $3, $4) RETURNING id")
                    .bind(id)
                    .bind(&name)
                    .bind(boss)
                    .bind(age);
            names(&Error::from_sqlx(own.fetch_one(&scope).await.unwrap_err()), kind, constraint);
            let mut tx = fixture.db.begin(ctx).await.unwrap();
            let own = sqlx::query("INSERT INTO people (id, name, boss, age) VALUES ($1, $2, $3, $4)")
                .bind(id)
                .bind(&name)
                .bind(boss)
                .bind(age);
            names(&Error::from_sqlx(own.execute(&mut tx).await.unwrap_err()), kind, constraint);
        }
        let excluded = query!(&scope, "INSERT INTO people (id, name, age) VALUES (2, 'eve', 40)");
        names(&excluded.execute().await.unwrap_err(), ErrorKind::Conflict, Some("people_tenant_id_age_excl"));
        let none = query!(&scope, "INSERT INTO people (id) VALUES (2)");
        names(&none.execute().await.unwrap_err(), ErrorKind::InvalidInput, None);
    }
    for ctx in [&fixture.acme, &fixture.globex] {
        let (scope, id) = (fixture.db.scope(ctx), uuid::Uuid::now_v7());
        for (total, wanted) in [(10_i64, None), (10, Some("orders_pkey")), (-77, Some("orders_total_check"))]
        {
            let added = query_checked!(
                &scope,
                "INSERT INTO orders (id, status, total) VALUES ($1, $2, $3)",
                id,
                "open",
                total
            );
            let error = added.execute().await.err();
            assert_eq!(error.as_ref().and_then(Error::constraint), wanted);
        }
    }
}

#[tokio::test]
async fn on_sqlite_a_violated_key_names_its_columns() {
    let fixture = Fixture::<Sqlite>::new().await;
    Sqlite::raw(
        &fixture.pool,
        "CREATE TABLE people (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, boss INTEGER,
            age INTEGER CHECK (age > 0), PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, name),
            FOREIGN KEY (tenant_id, boss) REFERENCES people (tenant_id, id)) STRICT",
    )
    .await
    .unwrap();
    for ctx in [&fixture.acme, &fixture.globex] {
        let scope = fixture.db.scope(ctx);
        let ada = Person { id: 1, name: "ada".to_owned(), boss: None, age: Some(40) };
        Person::insert(&scope, &ada).await.unwrap();
        for (person, kind, _, constraint) in violations() {
            names(&Person::insert(&scope, &person).await.unwrap_err(), kind, constraint);
            let own = sqlx::query("INSERT INTO people (id, name, boss, age) VALUES ($1, $2, $3, $4)")
                .bind(person.id)
                .bind(&person.name)
                .bind(person.boss)
                .bind(person.age);
            names(&Error::from_sqlx(own.execute(&scope).await.unwrap_err()), kind, constraint);
        }
        let none = query!(&scope, "INSERT INTO people (id) VALUES (2)").execute().await.unwrap_err();
        names(&none, ErrorKind::InvalidInput, Some("people.name"));
    }
    Sqlite::raw(&fixture.pool, "CREATE UNIQUE INDEX people_lower ON people (tenant_id, lower(name))")
        .await
        .unwrap();
    for ctx in [&fixture.acme, &fixture.globex] {
        let ada = Person { id: 2, name: "ADA".to_owned(), boss: None, age: None };
        let error = Person::insert(&fixture.db.scope(ctx), &ada).await.unwrap_err();
        assert_eq!((error.kind(), error.constraint()), (ErrorKind::Conflict, Some("index 'people_lower'")));
    }
}

#[tokio::test]
async fn an_error_of_sqlx_becomes_the_one_it_is() {
    let fixture = seeded().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        let scope = fixture.db.scope(ctx);
        let kind = |error| Error::from_sqlx(error).kind();
        let refused = sqlx::query("TRUNCATE people").execute(&scope).await.unwrap_err();
        let refused = Error::from_sqlx(refused);
        assert_eq!(refused.kind(), ErrorKind::SqlRejected);
        assert!(refused.to_string().starts_with("T005"), "{refused}");
        let few = sqlx::query("SELECT id FROM people WHERE id = $1").fetch_one(&scope).await.unwrap_err();
        assert_eq!(kind(few), ErrorKind::InvalidInput);
        let none = sqlx::query("SELECT id FROM people WHERE id = 9").fetch_one(&scope).await.unwrap_err();
        assert_eq!(kind(none), ErrorKind::NotFound);
        let gone = sqlx::query("SELECT nothing FROM people").fetch_one(&scope).await.unwrap_err();
        assert_eq!(kind(gone), ErrorKind::Misconfigured);
        assert_eq!(kind(sqlx::Error::PoolTimedOut), ErrorKind::StoreUnavailable);
    }
}

/// A type that does not fit is not a missing migration.
#[tokio::test]
async fn types_that_do_not_fit_are_named() {
    let fixture = Fixture::<Postgres>::new().await;
    fixture.raw("CREATE TABLE notes (tenant_id uuid NOT NULL, id uuid NOT NULL, text text)").await.unwrap();
    for ctx in [&fixture.acme, &fixture.globex] {
        let scope = fixture.db.scope(ctx);
        for sql in ["SELECT id FROM notes WHERE id = text", "UPDATE notes SET id = text WHERE text = 'a'"] {
            let error = Error::from_sqlx(sqlx::query(sql).execute(&scope).await.unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(error.to_string().contains("types") && error.to_string().contains("cast"), "{error}");
        }
        let missing = sqlx::query("SELECT gone FROM notes").execute(&scope).await.unwrap_err();
        assert!(Error::from_sqlx(missing).to_string().contains("apply its migrations"));
    }
}

/// With the tenant in the key, a transaction never waits for another tenant's transaction.
#[tokio::test]
async fn k06_an_uncommitted_key_blocks_no_other_tenant() {
    let fixture = seeded().await;
    let eve = Person { id: 7, name: "eve".to_owned(), boss: None, age: None };
    let mut first = fixture.db.begin(&fixture.acme).await.unwrap();
    Person::insert(&mut first, &eve).await.unwrap();
    let beside = async {
        let mut second = fixture.db.begin(&fixture.globex).await.unwrap();
        Person::insert(&mut second, &eve).await.unwrap();
        second.commit().await.unwrap();
    };
    tokio::time::timeout(Duration::from_mins(1), beside).await.expect("globex waits for acme's transaction");
    first.rollback().await.unwrap();
    for (ctx, there) in [(&fixture.acme, false), (&fixture.globex, true)] {
        assert_eq!(Person::exists(&fixture.db.scope(ctx), 7).await.unwrap(), there);
    }
}

/// A deferred constraint fails at commit, and its error has a name like any other.
#[tokio::test]
async fn k08_a_deferred_key_fails_at_commit_with_a_named_error() {
    let fixture = seeded().await;
    let deferred =
        "ALTER TABLE people ALTER CONSTRAINT people_tenant_id_boss_fkey DEFERRABLE INITIALLY DEFERRED";
    Postgres::raw(&fixture.pool, deferred).await.unwrap();
    for (ctx, other) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
        let boss = Person { id: 9, name: "boss".to_owned(), boss: None, age: None };
        Person::upsert(&fixture.db.scope(other), &boss).await.unwrap();
        let eve = Person { id: 77, name: "eve".to_owned(), boss: Some(9), age: None };
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        assert!(!Person::delete(&mut tx, 77).await.unwrap().found());
        let here = Person::select().filter(Person::ID.eq(9)).delete(&mut tx).await.unwrap();
        Person::insert(&mut tx, &eve).await.unwrap();
        let error = tx.commit().await.unwrap_err();
        names(&error, ErrorKind::ReferenceViolation, Some("people_tenant_id_boss_fkey"));
        let scope = fixture.db.scope(ctx);
        assert!(!Person::exists(&scope, 77).await.unwrap());
        assert_eq!(Person::exists(&scope, 9).await.unwrap(), here.found());
        assert!(Person::exists(&fixture.db.scope(other), 9).await.unwrap());
    }
}

#[tokio::test]
async fn a_lock_that_is_not_available_is_retryable() {
    let fixture = seeded().await;
    let mut one = fixture.db.begin(&fixture.acme).await.unwrap();
    query!(&mut one, "UPDATE people SET age = 41 WHERE id = 1").execute().await.unwrap();
    let mut two = fixture.db.begin(&fixture.acme).await.unwrap();
    let error = query_scalar!(&mut two, i64, "SELECT id FROM people WHERE id = 1 FOR UPDATE NOWAIT")
        .fetch_one()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error:?}");
    // Rows of another tenant are not locked.
    let theirs = fixture.db.scope(&fixture.globex);
    let id =
        query_scalar!(&theirs, i64, "SELECT id FROM people WHERE id = 1 FOR UPDATE NOWAIT").fetch_one().await;
    assert_eq!(id.unwrap(), 1);
    let again = query!(&mut two, "DELETE FROM people WHERE id = 1").execute().await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::RolledBack);
    one.rollback().await.unwrap();
}

/// A proxy to PostgreSQL that closes the connection in place of forwarding the reply to COMMIT.
async fn hangs_up_at_a_commit(to: &PgConnectOptions) -> PgConnectOptions {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = to.clone().host("127.0.0.1").port(listener.local_addr().unwrap().port());
    let address = (to.get_host().to_owned(), to.get_port());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&address).await.unwrap();
            tokio::spawn(async move {
                let (mut asked, mut said) = (vec![0; 65_536], vec![0; 65_536]);
                loop {
                    let to_client = tokio::select! {
                        n = client.read(&mut asked) => (n.unwrap_or(0), false),
                        n = server.read(&mut said) => (n.unwrap_or(0), true),
                    };
                    match to_client {
                        (0, _) => return,
                        (n, false) => server.write_all(&asked[..n]).await.unwrap(),
                        // The command tag of a COMMIT that has completed.
                        (n, true) if said[..n].windows(7).any(|tag| tag == b"COMMIT\0") => return,
                        (n, true) => client.write_all(&said[..n]).await.unwrap(),
                    }
                }
            });
        }
    });
    options
}

#[tokio::test]
async fn a_commit_without_a_reply_has_an_unknown_outcome() {
    let fixture = seeded().await;
    let line = hangs_up_at_a_commit(&fixture.pool.connect_options()).await;
    let pool = PgPoolOptions::new().max_connections(1).connect_with(line).await.unwrap();
    let db = TenantDb::from_pool(pool).accept(Check::OpenPolicy).build().await.unwrap();
    let mut tx = db.begin(&fixture.acme).await.unwrap();
    query!(&mut tx, "INSERT INTO people (id, name) VALUES (7, 'eve')").execute().await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::OutcomeUnknown, false));
    for (ctx, there) in [(&fixture.acme, 1), (&fixture.globex, 0)] {
        let scope = fixture.db.scope(ctx);
        let found = query_scalar!(&scope, i64, "SELECT count(*) FROM people WHERE id = 7").fetch_one().await;
        assert_eq!(found.unwrap(), there);
    }
}
