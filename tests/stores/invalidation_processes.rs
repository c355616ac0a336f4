//! Three processes: what one of them changes, the other two see, although their time to live is an hour.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tenancy::clock::{Clock, SystemClock};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::{Catalog, NewOverride};
use tenancy::store::SqlStore;
use tenancy::tenant::{ApiKeyStore, Slug, TenantStatus, TenantStore};

use crate::common::redis_url;
use crate::invalidation::{kill_subscribers, terminate_listeners};
use crate::node::{Deployment, Node, Transport};

/// How long a change may take to reach another process, also on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is a node. It is killed when the value is dropped.
struct Process {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(world: &Deployment) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["invalidation_processes::a_node_that_obeys_its_input", "--exact", "--nocapture"])
            .env("TEST_NODE_URL", world.url())
            .env("TEST_NODE_TRANSPORT", format!("{:?}", world.transport))
            .env("TEST_NODE_REDIS", &world.redis)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, commands, answers }
    }

    /// Sends a command, and returns the answer.
    fn ask(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "the process ended at `{command}`");
            // The test runner of the process writes lines of its own.
            if let Some((_, answer)) = line.trim_end().split_once("answer: ") {
                return answer.to_owned();
            }
        }
    }

    /// Repeats a command until it has this answer, and returns how long that took.
    fn wait_for(&mut self, command: &str, expected: &str) -> Duration {
        let start = Instant::now();
        loop {
            let answer = self.ask(command);
            if answer == expected {
                return start.elapsed();
            }
            assert!(start.elapsed() < PATIENCE, "`{command}` is `{answer}` and not `{expected}`");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other tests start this one in processes of its own, and write commands to their input. Without them it does nothing
/// but answer itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_obeys_its_input() {
    let Ok(url) = std::env::var("TEST_NODE_URL") else {
        let world = Deployment::new(Transport::Postgres).await;
        let node = world.node().await;
        assert_eq!(obey(&node, "insert acme").await, "done");
        assert_eq!(obey(&node, "read acme").await, "active free");
        assert_eq!(obey(&node, "extend acme").await, "done");
        assert_eq!(obey(&node, "limit acme").await, "8");
        return;
    };
    let redis = std::env::var("TEST_NODE_TRANSPORT").unwrap() == "Redis";
    let transport = if redis { Transport::Redis } else { Transport::Postgres };
    let redis = std::env::var("TEST_NODE_REDIS").unwrap();
    let node = Deployment::at(transport, &url).await.redis_at(&redis).start();
    let (sender, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    while let Some(command) = commands.recv().await {
        let answer = obey(&node, &command).await;
        #[expect(clippy::print_stdout, reason = "the other process reads it")]
        {
            println!("answer: {answer}");
        }
    }
}

fn catalog() -> Catalog {
    let features =
        "version = 1\n[features]\nprojects = { kind = \"gauge\" }\n[plans.free]\nfeatures = { projects = 5 }";
    Catalog::from_toml(&format!("{features}\n[plans.pro]\nfeatures = {{ projects = 50 }}")).unwrap()
}

async fn obey(node: &Node, command: &str) -> String {
    let (verb, name) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "connected" => return node.listener.status().is_connected().to_string(),
        "insert" => drop(node.insert(name).await),
        "cached" => {
            node.tenant(name).await.unwrap();
            return node.cache.peek_slug(&Slug::parse(name).unwrap()).is_some().to_string();
        }
        "read" => {
            let tenant = node.tenant(name).await.unwrap();
            return format!("{} {}", tenant.status().as_str(), tenant.plan());
        }
        "suspend" | "activate" => {
            let status = if verb == "suspend" { TenantStatus::Suspended } else { TenantStatus::Active };
            let tenant = node.tenant(name).await.unwrap();
            node.cache.update(&tenant.with_status(status).unwrap()).await.unwrap();
        }
        "upgrade" => {
            let tenant = node.tenant(name).await.unwrap();
            node.cache.update(&tenant.with_plan("pro")).await.unwrap();
        }
        "extend" => {
            let tenant = node.tenant(name).await.unwrap();
            let more = NewOverride::add("projects", 3, "a test");
            let store = SqlStore::new(node.pool.clone());
            let changed =
                store.add_override(&catalog(), tenant.id(), more, &Actor::user("ada")).await.unwrap();
            // PostgreSQL has notified the others in the transaction; over Redis the cache does it.
            node.cache.committed(&changed).await;
        }
        "limit" => {
            let tenant = node.tenant(name).await.unwrap();
            let directory = TenantDirectory::new(node.cache.clone(), catalog());
            let ctx = directory.context(tenant.id(), Actor::user("ada")).await.unwrap();
            return ctx
                .entitlements()
                .feature("projects")
                .unwrap()
                .limit()
                .unwrap()
                .max()
                .unwrap()
                .to_string();
        }
        "issue" => {
            let tenant = node.tenant(name).await.unwrap();
            return node.key(&tenant).await.id().to_owned();
        }
        "accepts" => return node.cache.key(name).await.unwrap().unwrap().revoked().is_none().to_string(),
        "revoke" => {
            let key = node.cache.key(name).await.unwrap().unwrap();
            node.cache.revoke_key(key.tenant(), name, SystemClock.now()).await.unwrap();
        }
        _ => panic!("{command}"),
    }
    "done".to_owned()
}

async fn three_processes_see_each_others_changes(transport: Transport) {
    let world = Deployment::new(transport).await.redis_at(&format!("{}2", redis_url()));
    let [mut writer, mut one, mut two] = [(); 3].map(|()| Process::start(&world));
    for process in [&mut writer, &mut one, &mut two] {
        process.wait_for("connected", "true");
    }
    writer.ask("insert acme");
    writer.ask("insert globex");
    let [acme_key, globex_key] = ["issue acme", "issue globex"].map(|issue| writer.ask(issue));
    let accepts = |key: &str| format!("accepts {key}");
    for reader in [&mut one, &mut two] {
        for name in ["acme", "globex"] {
            reader.wait_for(&format!("read {name}"), "active free");
            reader.wait_for(&format!("cached {name}"), "true");
        }
        for key in [&acme_key, &globex_key] {
            assert_eq!(reader.ask(&accepts(key)), "true");
        }
        for name in ["acme", "globex"] {
            assert_eq!(reader.ask(&format!("limit {name}")), "5");
        }
    }

    let mut latest = Duration::ZERO;
    writer.ask("suspend acme");
    writer.ask("upgrade globex");
    writer.ask("extend globex");
    writer.ask(&format!("revoke {acme_key}"));
    for reader in [&mut one, &mut two] {
        latest = latest.max(reader.wait_for("read acme", "suspended free"));
        latest = latest.max(reader.wait_for("read globex", "active pro"));
        // An override changes the limit, and not the plan.
        latest = latest.max(reader.wait_for("limit globex", "53"));
        latest = latest.max(reader.wait_for(&accepts(&acme_key), "false"));
        assert_eq!(reader.ask(&accepts(&globex_key)), "true");
    }

    // A process that only read before writes now, after every process has lost its connection.
    lose_every_connection(&world).await;
    for process in [&mut writer, &mut one, &mut two] {
        process.wait_for("connected", "true");
    }
    one.ask("activate acme");
    one.ask("extend acme");
    for reader in [&mut writer, &mut two] {
        latest = latest.max(reader.wait_for("read acme", "active free"));
        latest = latest.max(reader.wait_for("limit acme", "8"));
        assert_eq!(reader.ask("limit globex"), "53");
        assert_eq!(reader.ask("read globex"), "active pro");
        assert_eq!(reader.ask(&accepts(&acme_key)), "false");
    }
    #[expect(clippy::print_stdout, reason = "what happened is told")]
    {
        println!("{transport:?}: the latest change was seen after {latest:?}");
    }
}

async fn lose_every_connection(world: &Deployment) {
    match world.transport {
        Transport::Postgres => assert_eq!(terminate_listeners(&world.pool).await, 3),
        Transport::Redis => assert_eq!(kill_subscribers(&world.redis).await, 3),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_postgres() {
    three_processes_see_each_others_changes(Transport::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_redis() {
    three_processes_see_each_others_changes(Transport::Redis).await;
}
