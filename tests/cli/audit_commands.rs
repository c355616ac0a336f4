//! `tenancy audit` reads the events of each tenant wherever they are stored, and those of no other tenant.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tenancy::TenantContext;
use tenancy::audit::{AuditEvent, Outcome};
use tenancy::context::Actor;
use tenancy::tenant::Suspension;

use crate::on_every_database;
use crate::shop::{Shop, World};

async fn record<DB: Shop>(world: &World<DB>, ctx: &TenantContext, order: u64) {
    let mut tx = world.db.begin(ctx).await.unwrap();
    let event = AuditEvent::new(ctx, "order.update").target("order", order).detail("note", "a\nb");
    tx.record(event.outcome(if order == 2 { Outcome::Denied } else { Outcome::Success })).await.unwrap();
    tx.commit().await.unwrap();
}

/// `acme` of each placement has two events of its own, and the suspension by an operator; `globex` has one event.
async fn world_with_events<DB: Shop>() -> World<DB> {
    let world = World::<DB>::new(false).await;
    for [acme, globex] in &world.tenants {
        record(&world, acme, 1).await;
        record(&world, globex, 7).await;
        record(&world, acme, 2).await;
        let suspension = Suspension::new("moves").unwrap();
        world.store.suspend(acme.tenant_id(), suspension, &Actor::user("ops")).await.unwrap();
    }
    world
}

fn parsed(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The actions and targets of a tenant's events.
fn events_of(events: &[Value], ctx: &TenantContext) -> Vec<(String, Option<String>)> {
    let own = events.iter().filter(|event| event["tenant"] == ctx.tenant_id().to_string());
    own.map(|event| {
        (event["action"].as_str().unwrap().to_owned(), event["target"]["id"].as_str().map(str::to_owned))
    })
    .collect()
}

fn expected(acme: bool) -> Vec<(String, Option<String>)> {
    let update = |order: &str| ("order.update".to_owned(), Some(order.to_owned()));
    if acme { vec![update("1"), update("2"), ("tenant.suspend".to_owned(), None)] } else { vec![update("7")] }
}

async fn an_export_has_every_event_of_every_placement_once<DB: Shop>() {
    let world = world_with_events::<DB>().await;
    let (code, out, err) = world.command(&["audit", "export"]);
    assert_eq!(code, 0, "{err}");
    let events = parsed(&out);
    let kinds = DB::KINDS.len();
    assert_eq!(events.len(), 4 * kinds, "{out}");
    for [acme, globex] in &world.tenants {
        assert_eq!(events_of(&events, acme), expected(true), "{}", acme.tenant().slug());
        assert_eq!(events_of(&events, globex), expected(false), "{}", globex.tenant().slug());
    }
    assert_eq!(
        err,
        format!("tenancy: events: {}, tenants: {}, not read to the end: 0\n", 4 * kinds, 2 * kinds)
    );

    // To a file, which is not overwritten; one tenant; since a time.
    let acme = &world.tenants[1][0];
    let slug = acme.tenant().slug().as_str();
    let to_file = ["audit", "export", "--tenant", slug, "--since", "1h", "--output", "acme.jsonl"];
    let (code, out, err) = world.command(&to_file);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let file = std::fs::read_to_string(world.dir.path().join("acme.jsonl")).unwrap();
    let events = parsed(&file);
    assert_eq!((events.len(), events_of(&events, acme)), (3, expected(true)));
    let (code, _, err) = world.command(&to_file);
    assert!(
        code == 2 && err.contains("acme.jsonl: ") && err.contains("name a file that does not exist"),
        "{err}"
    );
    assert_eq!(std::fs::read_to_string(world.dir.path().join("acme.jsonl")).unwrap(), file);
    let (code, out, _) = world.command(&["audit", "export", "--since", "2100-01-01"]);
    assert_eq!((code, out.as_str()), (0, ""));
    let (code, _, err) = world.command(&["audit", "export", "--since", "yesterday"]);
    assert!(code == 2 && err.contains("how long ago"), "{err}");
    let (code, _, err) = world.command(&["audit", "export", "--tenant", "initech"]);
    assert!(code == 2 && err.contains("no tenant has the slug or the id"), "{err}");
}

async fn the_tail_shows_the_latest_events_of_a_tenant<DB: Shop>() {
    let world = world_with_events::<DB>().await;
    for [acme, globex] in &world.tenants {
        let slug = acme.tenant().slug().as_str();
        let (code, out, err) = world.command(&["audit", "tail", "--tenant", slug, "-n", "2"]);
        assert_eq!((code, err.as_str()), (0, ""));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 3, "{out}");
        assert!(lines[0].starts_with("time                 tenant               actor"), "{out}");
        let columns = format!(" {slug:<20} {:<24} {:<24} ", "user ada", "order.update");
        assert!(lines[1].ends_with(&(columns + "denied, order 2, note=a b")), "{out}");
        let columns = format!(" {slug:<20} {:<24} {:<24} ", "user ops", "tenant.suspend");
        assert!(lines[2].ends_with(&(columns + "reason=moves")), "{out}");
        assert!(!out.contains(globex.tenant().slug().as_str()), "{out}");
    }
    // Of all tenants, the latest ones in the order of time.
    let (code, out, _) = world.command(&["audit", "tail", "-n", "5", "--json"]);
    let events = parsed(&out);
    assert_eq!((code, events.len()), (0, 5));
    let times: Vec<i64> = events.iter().map(|event| event["occurred_us"].as_i64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let last = &world.tenants.last().unwrap()[0];
    assert_eq!(events_of(&events, last), expected(true));
}

/// A `tail --follow` that runs, and its lines. It is stopped when it is dropped.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn new<DB: Shop>(world: &World<DB>, slug: &str) -> Self {
        let command = ["audit", "tail", "--follow", "--json", "--tenant", slug];
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenancy"))
            .args(world.arguments(&world.control_url, &command))
            .current_dir(world.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output: ChildStdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if line.is_err() || sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(Duration::from_mins(1)).expect("a line within a minute");
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn a_followed_log_shows_new_events_of_the_tenant<DB: Shop>() {
    let world = world_with_events::<DB>().await;
    // The rows of this tenant are not beside the list of tenants.
    let [acme, globex] = world.tenants.last().unwrap();
    let slug = acme.tenant().slug().as_str();
    let mut following = Following::new(&world, slug);
    for _ in 0..3 {
        assert_eq!(following.next()["tenant"], acme.tenant_id().to_string());
    }
    record(&world, globex, 8).await;
    record(&world, acme, 9).await;
    assert_eq!(following.next()["target"]["id"], "9");
    world.store.resume(acme.tenant_id(), "moved", &Actor::user("ops")).await.unwrap();
    assert_eq!(following.next()["action"], "tenant.resume");
    let kill = Command::new("kill").args(["-INT", &following.child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert_eq!(following.child.wait().unwrap().code(), Some(130));
    assert!(following.lines.recv().is_err(), "no event is shown twice");
}

on_every_database!(
    an_export_has_every_event_of_every_placement_once,
    the_tail_shows_the_latest_events_of_a_tenant,
    a_followed_log_shows_new_events_of_the_tenant,
);
