//! The proxies whose headers are trusted.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::error::{Error, ErrorKind, Result};

/// The networks whose machines may speak for others: your own proxies.
#[derive(Debug, Clone)]
pub struct TrustedPeers(Vec<IpNet>);

impl TrustedPeers {
    /// The peers in these networks, each in CIDR notation such as `10.0.0.0/8` or `::1/128`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is none, or one cannot be read.
    pub fn new(networks: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        let networks = networks
            .into_iter()
            .map(|network| {
                network.as_ref().parse().map_err(|error: ipnet::AddrParseError| {
                    Error::new(
                        ErrorKind::Misconfigured,
                        "a trusted network is written like 10.0.0.0/8 or ::1/128",
                    )
                    .with_source(error)
                })
            })
            .collect::<Result<Vec<IpNet>>>()?;
        if networks.is_empty() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "name at least one trusted network, or leave the header source out",
            ));
        }
        Ok(Self(networks))
    }

    /// An address that is not known is not trusted. An IPv4 address is the same inside IPv6.
    pub(super) fn trust(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| {
            let address = peer.ip().to_canonical();
            self.0.iter().any(|network| network.contains(&address))
        })
    }
}
