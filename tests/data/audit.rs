//! An audit event commits with its change, never changes, and is visible to its own tenant only.

use std::sync::Arc;

use tenancy::audit::{AuditEvent, AuditPolicy, AuditSink, MemorySink, Outcome, TracingSink};
use tenancy::scope::row::SupportsRow;
use tenancy::scope::{Scope, StoredEvent, TenantDb};
use tenancy::{ErrorKind, TenantScoped};
use uuid::Uuid;

use crate::common::{Fixture, Order, TestBackend};
use crate::log::Log;

async fn actions<DB: TestBackend>(scope: &Scope<'_, DB>) -> Vec<String> {
    let events = StoredEvent::newest(scope, None, 100).await.unwrap();
    events
        .iter()
        .map(|event| {
            let json: serde_json::Value = serde_json::from_str(event.json()).unwrap();
            json["action"].as_str().unwrap().to_owned()
        })
        .collect()
}

async fn an_event_is_kept_exactly_if_its_change_is<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let order = Order::new(1);
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order).await.unwrap();
    tx.record(AuditEvent::new(&fixture.acme, "order.create").target("order", order.id)).await.unwrap();
    drop(tx);
    assert_eq!(actions(&fixture.db.scope(&fixture.acme)).await, [""; 0]);

    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order).await.unwrap();
    tx.record(AuditEvent::new(&fixture.acme, "order.create").target("order", order.id).detail("total", 1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(actions(&fixture.db.scope(&fixture.acme)).await, ["order.create"]);
    assert_eq!(actions(&fixture.db.scope(&fixture.globex)).await, [""; 0], "globex sees nothing of it");

    let event = &StoredEvent::newest(&fixture.db.scope(&fixture.acme), None, 1).await.unwrap()[0];
    let json: serde_json::Value = serde_json::from_str(event.json()).unwrap();
    assert_eq!(json["tenant"], fixture.acme.tenant_id().to_string());
    assert_eq!(json["actor"], serde_json::json!({"kind": "user", "id": "acme-user"}));
    assert_eq!(json["target"]["id"], order.id.to_string());
    assert_eq!(json["details"]["total"], "1");
    assert_eq!(json["request_id"], fixture.acme.request_id().to_string());
    assert_eq!(json["occurred_us"], event.occurred().micros());
}

async fn where_events_are_required_a_silent_change_is_not_made<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Required, 4).await;
    let scope = fixture.db.scope(&fixture.acme);
    let order = Order::new(1);

    assert_eq!(Order::insert(&scope, &order).await.unwrap_err().kind(), ErrorKind::Unaudited);
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order).await.unwrap();
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Unaudited);
    assert_eq!(Order::count(&scope).await.unwrap(), 0);

    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert_eq!(Order::count(&mut tx).await.unwrap(), 0);
    tx.commit().await.expect("a transaction that only reads needs no event");

    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order).await.unwrap();
    assert_eq!(tx.commit_unaudited("  ").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order).await.unwrap();
    tx.commit_unaudited("import of 2019").await.unwrap();
    assert_eq!(Order::count(&scope).await.unwrap(), 1);
    assert_eq!(actions(&scope).await, ["tenancy.unaudited_commit"]);
}

async fn an_event_of_another_tenant_is_rejected<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    let error = tx.record(AuditEvent::new(&fixture.globex, "order.create")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    tx.commit().await.unwrap();
    assert_eq!(actions(&fixture.db.scope(&fixture.globex)).await, [""; 0]);
}

async fn events_are_never_changed_or_removed<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let sink: &dyn AuditSink = &*fixture.store;
    let event = AuditEvent::new(&fixture.acme, "order.read").outcome(Outcome::Denied);
    sink.write(std::slice::from_ref(&event)).await.unwrap();
    sink.write(&[event, AuditEvent::new(&fixture.globex, "login")]).await.unwrap();
    assert_eq!(actions(&fixture.db.scope(&fixture.acme)).await, ["order.read"], "written twice, kept once");
    assert_eq!(actions(&fixture.db.scope(&fixture.globex)).await, ["login"]);

    for sql in ["UPDATE tenancy_audit_events SET action = 'x'", "DELETE FROM tenancy_audit_events"] {
        // SQLite rejects the statement. PostgreSQL has no policy for it, so the statement reaches no row.
        let tenant = fixture.acme.tenant_id();
        let sql = match DB::NAME {
            "PostgreSQL" => format!("BEGIN; SET LOCAL app.tenant_id = '{tenant}'; {sql}; COMMIT"),
            _ => sql.to_owned(),
        };
        let refused = fixture.raw(&sql).await;
        assert!(refused.is_err() || DB::NAME == "PostgreSQL");
    }
    assert_eq!(actions(&fixture.db.scope(&fixture.acme)).await, ["order.read"]);
}

async fn committed_events_are_copied_to_the_other_sinks<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let copy = Arc::new(MemorySink::new());
    let db = TenantDb::from_pool(fixture.pool.clone())
        .audit(AuditPolicy::Required)
        .mirror_audit_to(copy.clone())
        .mirror_audit_to(Arc::new(TracingSink))
        .build()
        .await
        .unwrap();
    for commits in [false, true] {
        let mut tx = db.begin(&fixture.acme).await.unwrap();
        Order::insert(&mut tx, &Order::new(1)).await.unwrap();
        tx.record(AuditEvent::new(&fixture.acme, "order.create")).await.unwrap();
        if commits {
            tx.commit().await.unwrap();
        }
    }
    assert_eq!(copy.events().len(), 1);
    copy.write(&copy.events()).await.unwrap();
    assert_eq!(copy.events().len(), 1, "written twice, kept once");
}

async fn the_audit_log_is_read_in_pages_newest_first<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let events: Vec<_> = (0..7).map(|n| AuditEvent::new(&fixture.acme, format!("step.{n}"))).collect();
    fixture.store.write(&events).await.unwrap();
    let scope = fixture.db.scope(&fixture.acme);
    let first = StoredEvent::newest(&scope, None, 4).await.unwrap();
    let rest = StoredEvent::newest(&scope, first.last().map(StoredEvent::id), 4).await.unwrap();
    let seen: Vec<Uuid> = first.iter().chain(&rest).map(StoredEvent::id).collect();
    let wrote: Vec<Uuid> = events.iter().rev().map(AuditEvent::id).collect();
    assert_eq!(seen, wrote);
    for limit in [0, 1001] {
        assert_eq!(
            StoredEvent::newest(&scope, None, limit).await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}

/// After a failed statement the commit returns an error and keeps nothing, audit events included.
async fn after_a_failed_statement_a_commit_returns_rolled_back<DB: TestBackend + SupportsRow<Order>>() {
    for policy in [AuditPolicy::Optional, AuditPolicy::Required] {
        let fixture = Fixture::<DB>::with(policy, 4).await;
        let order = Order::new(1);
        for ctx in [&fixture.acme, &fixture.globex] {
            let mut tx = fixture.db.begin(ctx).await.unwrap();
            Order::insert(&mut tx, &order).await.unwrap();
            tx.record(AuditEvent::new(ctx, "order.create")).await.unwrap();
            tx.commit().await.unwrap();
            for records in [false, true] {
                let mut tx = fixture.db.begin(ctx).await.unwrap();
                Order::insert(&mut tx, &Order::new(1)).await.unwrap();
                if records {
                    tx.record(AuditEvent::new(ctx, "order.create")).await.unwrap();
                }
                assert_eq!(Order::insert(&mut tx, &order).await.unwrap_err().kind(), ErrorKind::Conflict);
                let again = Order::count(&mut tx).await.unwrap_err();
                let error = tx.commit().await.unwrap_err();
                assert_eq!(
                    (again.kind(), error.kind()),
                    (ErrorKind::RolledBack, ErrorKind::RolledBack),
                    "{policy:?}"
                );
                assert!(error.to_string().contains("a statement of this transaction failed"), "{error}");
            }
            let mut tx = fixture.db.begin(ctx).await.unwrap();
            Order::insert(&mut tx, &order).await.unwrap_err();
            assert_eq!(
                tx.commit_unaudited("import of 2019").await.unwrap_err().kind(),
                ErrorKind::RolledBack
            );
            assert_eq!(Order::count(&fixture.db.scope(ctx)).await.unwrap(), 1);
        }
    }
}

/// A transaction that is dropped with changes logs a warning with the tenant and the line that began it.
#[tokio::test]
async fn a_transaction_with_changes_that_is_dropped_is_in_the_log() {
    dropped_changes::<sqlx::Sqlite>().await;
    dropped_changes::<sqlx::Postgres>().await;
}

async fn dropped_changes<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let order = Order::new(1);
    for ctx in [&fixture.acme, &fixture.globex] {
        Order::insert(&fixture.db.scope(ctx), &order).await.unwrap();
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let warnings = || {
        let text = log.take();
        text.lines()
            .filter(|line| line.contains("WARN tenancy::scope"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let begin = async |ctx| fixture.db.begin(ctx).await.unwrap();
    let line = line!() - 1;
    for (ctx, other) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
        let mut tx = begin(ctx).await;
        Order::insert(&mut tx, &Order::new(1)).await.unwrap();
        drop(tx);
        let warned = warnings();
        assert_eq!(warned.len(), 1, "{warned:?}");
        let at = format!("begun_at={}:{line}:", file!());
        for part in [&format!("tenant.id={}", ctx.tenant_id()), &at, "was dropped, so it is rolled back"] {
            assert!(warned[0].contains(part), "{part}: {warned:?}");
        }
        assert!(!warned[0].contains(&other.tenant_id().to_string()));

        // A dropped transaction with only an audit event also logs a warning.
        let mut tx = begin(ctx).await;
        tx.record(AuditEvent::new(ctx, "order.read")).await.unwrap();
        drop(tx);
        assert_eq!(warnings().len(), 1);

        // No warning: the transaction changed nothing, or its end is known.
        let mut tx = begin(ctx).await;
        Order::count(&mut tx).await.unwrap();
        assert!(!Order::delete(&mut tx, Uuid::now_v7()).await.unwrap().found());
        drop(tx);
        for ending in 0..3 {
            let mut tx = begin(ctx).await;
            Order::insert(&mut tx, &Order::new(1)).await.unwrap();
            match ending {
                0 => tx.commit().await.unwrap(),
                1 => tx.rollback().await.unwrap(),
                _ => {
                    Order::insert(&mut tx, &order).await.unwrap_err();
                    drop(tx);
                }
            }
        }
        Order::insert(&fixture.db.scope(ctx), &order).await.unwrap_err();
        assert_eq!(warnings(), [""; 0]);
        assert_eq!(Order::count(&fixture.db.scope(ctx)).await.unwrap(), 2);
    }
}

async fn events_are_read_from_both_ends<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    for (ctx, number) in [(&fixture.acme, 1), (&fixture.acme, 2), (&fixture.globex, 3), (&fixture.acme, 4)] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        tx.record(AuditEvent::new(ctx, "order.update").target("order", number)).await.unwrap();
        tx.commit().await.unwrap();
    }
    let scope = fixture.db.scope(&fixture.acme);
    let mut newest = StoredEvent::newest(&scope, None, 9).await.unwrap();
    newest.reverse();
    let ids = |events: &[StoredEvent]| events.iter().map(StoredEvent::id).collect::<Vec<_>>();
    let (mut oldest, mut after) = (Vec::new(), None);
    loop {
        let page = StoredEvent::oldest(&scope, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id());
        oldest.extend(page);
    }
    assert_eq!((oldest.len(), ids(&oldest)), (3, ids(&newest)));
    let globex = StoredEvent::oldest(&fixture.db.scope(&fixture.globex), None, 9).await.unwrap();
    assert_eq!(globex.len(), 1, "an event of globex only");
    let error = StoredEvent::oldest(&scope, None, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

in_every_placement!(
    events_are_read_from_both_ends,
    after_a_failed_statement_a_commit_returns_rolled_back,
    an_event_is_kept_exactly_if_its_change_is,
    where_events_are_required_a_silent_change_is_not_made,
    an_event_of_another_tenant_is_rejected,
);

// They write events with the sink of the control plane, which is in the database of the shared tables.
on_every_database!(
    events_are_never_changed_or_removed,
    committed_events_are_copied_to_the_other_sinks,
    the_audit_log_is_read_in_pages_newest_first,
);
