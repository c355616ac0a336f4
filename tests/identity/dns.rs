//! Fixture: a DNS server on loopback, with the records of the test.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use tenancy::tenant::{DnsResolver, TxtLookup};

use crate::server::{Server, program};

const NO_DNS: &str = "this test needs dnsmasq. Run `scripts/test`, which installs it; or install it \
    (`apt-get install dnsmasq-base`), so that `dnsmasq` is in the PATH or in /usr/sbin";

/// A running server, authoritative for `com`, which rejects other names. It stops when the value is dropped.
pub(crate) struct DnsServer {
    _process: Server,
    address: SocketAddr,
}

impl DnsServer {
    /// Starts a server with these TXT records: each is a name and the strings of one record.
    pub(crate) async fn start(records: &[(&str, &[&str])]) -> Self {
        let program = program("dnsmasq", NO_DNS);
        // Another test can take a free port in the meantime.
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
            let mut process = Server::start(&mut command, NO_DNS);
            let lookup = DnsResolver::new([address]).expect("one server is enough");
            let answers = async || lookup.txt("ready.com").await.is_ok_and(|found| found == ["ready"]);
            if process.is_ready(answers).await {
                return Self { _process: process, address };
            }
        }
        panic!("dnsmasq does not answer; does `{}` run by hand?", program.display());
    }

    pub(crate) fn lookup(&self) -> DnsResolver {
        DnsResolver::new([self.address]).expect("one server is enough")
    }
}

/// An address without a listener.
pub(crate) fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("a bound socket has an address")
}
