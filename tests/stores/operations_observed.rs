//! The metrics and spans of exports, imports, restores, deletions and moves.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::set_default_local_recorder;
use metrics_util::debugging::DebuggingRecorder;
use sqlx::Sqlite;
use tenancy::context::Actor;
use tenancy::tenant::{NewTenant, Placement, Slug, TenantStatus, TenantStore};
use tenancy::{ErrorKind, TenantScoped};

use crate::log::Log;
use crate::observed::{counts, logged, no_secret};
use crate::place_fixture::{App, Project, TestPlaces};

const STEPS: [&str; 6] = ["prepare", "copy", "fence", "verify", "switch", "clean-up"];

#[tokio::test]
async fn each_operation_has_a_span_and_is_counted() {
    let mut app = App::<Sqlite>::new().await;
    let provisioner = app.provisioner(&[Sqlite::PROJECTS]);
    let acme = app.create(&provisioner, "acme", NewTenant::own_database).await.unwrap();
    let globex = app.create(&provisioner, "globex", |new| new).await.unwrap();
    for tenant in [&acme, &globex] {
        let ctx = app.context(tenant).await.unwrap();
        let mut tx = app.db.begin(&ctx).await.unwrap();
        for id in 101..=140 {
            Project::insert(&mut tx, &Project { id, name: format!("project {id}") }).await.unwrap();
        }
        tx.commit_unaudited("rows of a test").await.unwrap();
    }
    let (log, recorder) = (Log::default(), DebuggingRecorder::new());
    let snapshotter = recorder.snapshotter();
    let (_log, _metrics) = (logged(&log), set_default_local_recorder(&recorder));
    let seen = || -> BTreeMap<String, u64> {
        let is_of = |name: &str| name.starts_with("tenancy_operations") || name.starts_with("tenancy_move");
        counts(&snapshotter).into_iter().filter(|(name, _)| is_of(name)).collect()
    };
    let operation =
        |name: &str, result: &str| format!("tenancy_operations_total{{operation={name},result={result}}}");
    let ada = Actor::user("ada");

    let mut bundle = Vec::new();
    provisioner.export(acme.id()).write_to(&mut bundle).await.unwrap();
    assert_eq!(seen(), BTreeMap::from([(operation("export", "done"), 1)]));
    let ended = format!("operation{{name=\"export\" tenant.id={} outcome=\"done\"}}", acme.id());
    let text = log.take();
    assert!(text.contains(&ended), "{text}");
    let new = NewTenant::new(Slug::parse("copy").unwrap(), "copy", "free");
    let copy = provisioner
        .import(&bundle[..], new.clone().own_database(), &Actor::user("ada"))
        .await
        .unwrap()
        .tenant;
    let error = provisioner.import(&bundle[..100], new, &Actor::user("ada")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let imports = [(operation("import", "done"), 1), (operation("import", "invalid-input"), 1)];
    assert_eq!(seen(), BTreeMap::from(imports));
    let text = log.take();
    assert!(text.contains(&format!("operation{{name=\"import\" tenant.id={}", copy.id())), "{text}");
    assert!(text.contains("WARN") && text.contains("outcome=\"invalid-input\""), "{text}");

    // To the shared tables, and then to where it is already.
    let movement = provisioner.move_to(acme.id(), Placement::Shared, &ada).grace(Duration::ZERO);
    let report = movement.run(|_| {}).await.unwrap();
    assert_eq!(movement.run(|_| {}).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(movement.roll_back().await.unwrap_err().kind(), ErrorKind::NotFound);
    let mut moves = seen();
    let rows: u64 = report.tables.values().sum();
    assert!(moves.remove("tenancy_moved_rows_total{}").unwrap() >= rows, "{moves:?}");
    let steps = STEPS.map(|step| (format!("tenancy_move_steps_total{{step={step},result=done}}"), 1));
    let mut wanted = BTreeMap::from(steps);
    wanted.extend([
        (operation("move", "done"), 1),
        (operation("move", "misconfigured"), 1),
        (operation("roll-back", "not-found"), 1),
        ("tenancy_move_refused_seconds{}".to_owned(), 1),
    ]);
    assert_eq!(moves, wanted);
    let text = log.take();
    let span = format!("operation{{name=\"move\" tenant.id={} target=\"shared\"}}", acme.id());
    for step in STEPS {
        let ended =
            format!("{span}:step{{name=\"{step}\" outcome=\"done\"}}: tenancy::operations::observed: ");
        let of_step: Vec<&str> = text.lines().filter(|line| line.contains(&ended)).collect();
        let [event, close] = of_step[..] else { panic!("{step}: {text}") };
        assert!(event.contains("INFO") && close.contains("close"), "{event}");
    }
    assert!(text.contains(&format!("milliseconds={}", report.fenced_ms)), "{text}");
    assert!(!text.contains(&globex.id().to_string()), "{text}");

    let now = app.store.by_id(acme.id()).await.unwrap().unwrap();
    app.store.update(&now.with_status(TenantStatus::Deactivated).unwrap()).await.unwrap();
    let restore = provisioner.restore(acme.id(), &bundle[..]).await.unwrap();
    restore.apply(acme.slug(), &ada).await.unwrap();
    let deletion = provisioner.deletion(acme.id(), &ada);
    assert_eq!(deletion.run(globex.slug()).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    deletion.run(acme.slug()).await.unwrap();
    let ends = [
        (operation("restore", "done"), 1),
        (operation("delete", "invalid-input"), 1),
        (operation("delete", "done"), 1),
    ];
    assert_eq!(seen(), BTreeMap::from(ends));
    no_secret(&log.take(), &["acme", "globex"]);
    let theirs = app.context(&globex).await.unwrap();
    assert!(Project::count(&app.db.scope(&theirs)).await.unwrap() >= 40);
}
