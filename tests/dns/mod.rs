//! A DNS server of the test's own on loopback.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tenancy::tenant::{Dns, TxtLookup};

const NO_DNS: &str = "this test needs dnsmasq. Run `scripts/test`, which installs it; or install it \
    (`apt-get install dnsmasq-base`), so that `dnsmasq` is in the PATH or in /usr/sbin";

/// A running server, which knows every name below `com`, and refuses to speak of others. It ends with the value.
pub(crate) struct DnsServer {
    process: Child,
    address: SocketAddr,
}

impl DnsServer {
    /// A server with these TXT records: each a name, and the strings of one record.
    pub(crate) async fn start(records: &[(&str, &[&str])]) -> Self {
        let program = program();
        // A port that was free a moment ago can be taken by another test.
        for _ in 0..5 {
            let address = free_address();
            let mut command = Command::new(&program);
            command
                .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="])
                .args(["--bind-interfaces", "--listen-address=127.0.0.1", "--local=/com/"])
                .arg(format!("--port={}", address.port()))
                .arg("--txt-record=ready.com,ready");
            for (name, strings) in records {
                command.arg(format!("--txt-record={name},{}", strings.join(",")));
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let process = command.spawn().unwrap_or_else(|e| panic!("{NO_DNS}\n({e})"));
            let mut server = Self { process, address };
            if server.answers().await {
                return server;
            }
        }
        panic!("dnsmasq does not answer; does `{}` run by hand?", program.display());
    }

    pub(crate) fn lookup(&self) -> Dns {
        Dns::new([self.address]).expect("one server is enough")
    }

    async fn answers(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if self.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                return false;
            }
            if self.lookup().txt("ready.com").await.is_ok_and(|found| found == ["ready"]) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|dir| dir.join("dnsmasq"))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{NO_DNS}"))
}

/// An address where nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("a bound socket has an address")
}
