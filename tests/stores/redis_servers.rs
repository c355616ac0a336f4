//! Fixture: Redis servers that a test starts, stops and starts again, alone or as a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue};

use crate::node::until;
use crate::server::{Server, program};

const MISSING: &str = "this test starts Redis of its own: install it (`apt-get install redis-server`)";

/// A Redis that writes each change to its disk before it confirms it.
pub(crate) struct OwnRedis {
    server: Option<Server>,
    port: u16,
    directory: PathBuf,
    arguments: &'static [&'static str],
}

impl OwnRedis {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(arguments: &'static [&'static str]) -> Self {
        let directory = std::env::temp_dir().join(format!("tenancy-redis-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        let mut redis = Self { server: None, port: free_port(), directory, arguments };
        redis.restart().await;
        redis
    }

    /// Kills the server, and starts it again with what it has written.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new(program("redis-server", MISSING));
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        command.args(["--port", &self.port.to_string(), "--dir", path(&self.directory)]).args(self.arguments);
        let mut server = Server::start(&mut command, MISSING);
        let answers = async || self.try_run::<String>(&redis::cmd("PING")).await.is_ok();
        assert!(server.is_ready(answers).await, "Redis does not start on the port {}", self.port);
        self.server = Some(server);
    }

    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    pub(crate) fn client(&self) -> Client {
        Client::open(self.url()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    async fn connection(&self) -> redis::RedisResult<MultiplexedConnection> {
        self.client().get_multiplexed_async_connection().await
    }

    async fn try_run<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        command.query_async(&mut self.connection().await?).await
    }

    pub(crate) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> T {
        self.try_run(command).await.unwrap()
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A cluster of two nodes, each with half of the slots.
pub(crate) async fn cluster() -> [OwnRedis; 2] {
    let arguments = &["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"];
    let nodes = [OwnRedis::with(arguments).await, OwnRedis::with(arguments).await];
    for (node, slots) in nodes.iter().zip([[0, 8_191], [8_192, 16_383]]) {
        let () = node.run(redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(&slots)).await;
    }
    let meet = |port: u16| redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(port).clone();
    let () = nodes[0].run(&meet(nodes[1].port)).await;
    for node in &nodes {
        until("the nodes of the cluster know each other", async || {
            let info: String = node.run(redis::cmd("CLUSTER").arg("INFO")).await;
            info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
        })
        .await;
    }
    nodes
}

/// A port that is free now, and whose port for the bus of a cluster (10,000 above) is valid.
fn free_port() -> u16 {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        match listener.local_addr().unwrap().port() {
            port @ ..=55_000 => return port,
            _ => drop(listener),
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
