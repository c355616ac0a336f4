//! The proxies whose headers are trusted.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::error::{Error, ErrorKind, Result};

/// The networks of your own proxies, whose headers are trusted.
///
/// ```
/// use tenancy::resolve::TrustedPeers;
///
/// let proxies = TrustedPeers::new(["10.0.0.0/8", "::1/128"])?;
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrustedPeers(Vec<IpNet>);

impl TrustedPeers {
    /// Trusts the peers in these networks, each in CIDR notation such as `10.0.0.0/8` or `::1/128`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the list is empty, or a network does not parse.
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

    /// An unknown address is not trusted. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub(super) fn contains(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| {
            let address = peer.ip().to_canonical();
            self.0.iter().any(|network| network.contains(&address))
        })
    }
}
