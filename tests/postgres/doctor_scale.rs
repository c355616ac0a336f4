//! The doctor on a database with many tables, and what it writes to the log of an application.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tenancy::TenantDb;
use tenancy::isolation::RlsPolicies;
use tenancy::isolation::doctor::{self, Check, Finding};

use crate::doctor_cases::{self, Fixture};
use crate::log::Log;

/// Chains of ten tables. Each table but the first of a chain refers to the one before it.
const MANY: &str = "DO $$ DECLARE before text; BEGIN
    FOR n IN 1..500 LOOP
        before := CASE n % 10 WHEN 1 THEN 'documents' ELSE 'many_' || n - 1 END;
        EXECUTE format('CREATE TABLE many_%s (tenant_id uuid NOT NULL, id uuid NOT NULL, before uuid NOT NULL,
            PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, before) REFERENCES %s (tenant_id, id))', n, before);
    END LOOP;
    -- A partition in another batch than its table.
    CREATE TABLE aaa (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id)) PARTITION BY HASH (tenant_id);
    CREATE TABLE aaa_1 PARTITION OF aaa FOR VALUES WITH (MODULUS 1, REMAINDER 0);
END $$";

#[tokio::test]
async fn five_hundred_tables_are_probed_and_a_batch_that_fails_names_its_tables() {
    let fixture = Fixture::new().await;
    fixture.as_owner(MANY).await;
    let schema = doctor_cases::schema();
    let mut owner = fixture.connect(&fixture.owner).await;
    RlsPolicies::new(&schema).runtime_role(&fixture.app).apply(&mut owner).await.unwrap();
    let report = fixture.examined(&fixture.app, "").await;
    report.assert_clean();
    assert_eq!((report.tables(), report.proven_with_rows()), (513, 513), "{:?}", report.notes());
    assert_eq!(fixture.rows("many_1").await + fixture.rows("many_500").await, 0, "the probe left a row");

    // `ASSERT` is, like a timeout, an error that ends the whole message.
    fixture
        .as_owner(
            "CREATE FUNCTION stops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ASSERT false, 'it stops'; END $$;
             CREATE TRIGGER stops BEFORE INSERT ON many_260 FOR EACH ROW EXECUTE FUNCTION stops();
             ALTER TABLE many_490 DISABLE ROW LEVEL SECURITY",
        )
        .await;
    let report = fixture.examined(&fixture.app, "").await;
    let found = |check: Check| -> BTreeSet<&str> {
        report.findings().iter().filter(|one| one.check() == check).map(Finding::object).collect()
    };
    let (failed, others) = (found(Check::Unexamined), found(Check::RlsOff));
    assert!(failed.contains("many_260") && (1..=50).contains(&failed.len()), "{report}");
    assert_eq!((others, report.findings().len()), (["many_490"].into(), failed.len() + 1), "{report}");
    let details = report.findings().iter().filter(|one| one.check() == Check::Unexamined);
    assert!(details.map(Finding::detail).all(|detail| detail.contains("it stops")), "{report}");
    let open = usize::from(!failed.contains("many_490"));
    assert_eq!(
        report.proven_with_rows(),
        513 - failed.len() - open,
        "the other batches are probed: {report}"
    );
}

#[tokio::test]
async fn the_log_has_no_statement_of_the_doctor() {
    let fixture = Fixture::new().await;
    // An application has one type of tenant id.
    fixture
        .as_owner(
            "DROP TABLE counters, notes;
             CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'loud'; RETURN NEW; END $$;
             CREATE TRIGGER loud BEFORE INSERT ON projects FOR EACH ROW EXECUTE FUNCTION loud()",
        )
        .await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(subscriber.finish());
    // Every statement is slow.
    let options: PgConnectOptions = fixture.url(&fixture.app).parse().unwrap();
    let options = options.log_slow_statements("warn".parse().unwrap(), Duration::ZERO);
    let schema = doctor_cases::schema();
    for connections in [1, 2] {
        let pool =
            PgPoolOptions::new().max_connections(connections).connect_with(options.clone()).await.unwrap();
        let db = TenantDb::from_pool(pool.clone()).schema(schema.clone()).build().await.unwrap();
        db.doctor().await.unwrap().assert_clean();
        // The only connection of the pool may be in use.
        let taken = pool.acquire().await.unwrap();
        db.doctor().await.unwrap().assert_clean();
        drop(taken);
        db.close().await;
        assert!(db.doctor().await.is_err(), "a closed `TenantDb` opens no connection");
    }
    doctor::examine_places(&options, &schema).await.unwrap().assert_clean();
    let text = log.text();
    assert!(text.contains("slow statement"), "the log is not read: {text}");
    for word in ["row_to_json", "tenancy.doctor", "pg_policy", "loud"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}
