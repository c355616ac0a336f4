//! Fixture: a PgBouncer in front of the PostgreSQL of `TEST_POSTGRES_URL`, in any pool mode.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use crate::server::{Server, program};

const NO_POOLER: &str = "this test needs PgBouncer. Run `scripts/test`, which installs it; or install it \
    (`apt-get install pgbouncer`), so that `pgbouncer` is in the PATH or in /usr/sbin";

/// PgBouncer does not run as root; this user exists everywhere.
const NOBODY: u32 = 65534;

/// A running pooler. It stops when the value is dropped.
pub(crate) struct Pooler {
    _process: Server,
    port: u16,
    /// The options of a direct connection to the database.
    direct: PgConnectOptions,
    _dir: TempDir,
}

impl Pooler {
    /// Starts a pooler with this `pool_mode` and so many server connections for each database.
    pub(crate) async fn start(direct: &str, mode: &str, connections: u32) -> Self {
        let program = program("pgbouncer", NO_POOLER);
        let direct: PgConnectOptions = direct.parse().expect("the URL of the test's database reads");
        // Another test can take a free port in the meantime.
        for _ in 0..5 {
            let port = free_port();
            let dir = tempfile::tempdir().expect("a directory for the pooler");
            let config = dir.path().join("pgbouncer.ini");
            let users = dir.path().join("users");
            fs::write(&config, settings(&direct, &users, port, mode, connections))
                .expect("the settings are written");
            // The role logs in with the password of the URL, if the URL has one.
            let password = direct.to_url_lossy().password().unwrap_or_default().to_owned();
            fs::write(&users, format!("\"{}\" \"{password}\"\n", direct.get_username()))
                .expect("the users are written");
            let mut command = Command::new(&program);
            command.arg("-q").arg(&config);
            if fs::metadata(dir.path()).expect("the directory is there").uid() == 0 {
                for file in [dir.path(), &config, &users] {
                    chown(file, Some(NOBODY), Some(NOBODY)).expect("root gives files away");
                }
                command.uid(NOBODY).gid(NOBODY);
            }
            let options = direct.clone().host("127.0.0.1").port(port);
            let answers = async || match PgConnection::connect_with(&options).await {
                Ok(mut connection) => sqlx::raw_sql("SELECT 1").execute(&mut connection).await.is_ok(),
                Err(_) => false,
            };
            let mut process = Server::start(&mut command, NO_POOLER);
            if process.is_ready(answers).await {
                return Self { _process: process, port, direct, _dir: dir };
            }
        }
        panic!("PgBouncer does not answer; does `{}` run by hand?", program.display());
    }

    /// The URL of the database through the pooler.
    pub(crate) fn url(&self) -> String {
        self.options().to_url_lossy().to_string()
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        self.direct.clone().host("127.0.0.1").port(self.port)
    }
}

fn settings(direct: &PgConnectOptions, users: &Path, port: u16, mode: &str, connections: u32) -> String {
    let (host, server, users) = (direct.get_host(), direct.get_port(), users.display());
    format!(
        "[databases]\n* = host={host} port={server}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
         auth_file = {users}\npool_mode = {mode}\ndefault_pool_size = {connections}\nmax_client_conn = 500\n\
         ignore_startup_parameters = extra_float_digits\n"
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
