//! A server program of the test's own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program. It ends with the value.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it, or says with `missing` what to do.
    pub(crate) fn start(command: &mut Command, missing: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap_or_else(|e| panic!("{missing}\n({e})")))
    }

    /// Whether it `answers` within 20 seconds, and before it ends.
    pub(crate) async fn is_ready(&mut self, answers: impl AsyncFn() -> bool) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if self.0.try_wait().is_ok_and(|ended| ended.is_some()) {
                return false;
            }
            if answers().await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the program is: in the PATH, or where Debian keeps what an operator runs.
pub(crate) fn program(name: &str, missing: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{missing}"))
}
