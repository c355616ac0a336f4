//! [`DnsResolver`]: TXT look-ups over DNS (feature `dns`).

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;

use super::TxtLookup;
use crate::error::{Error, ErrorKind, Result};

/// The timeout of one query to one server. A server gets at most two queries.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A [`TxtLookup`] that queries DNS servers, without a cache: a new record is found as soon as the servers have it.
///
/// # Security
/// Whoever controls the servers, or the network path to them, decides which tenant owns a domain. Use resolvers of
/// your own network, preferably ones that validate DNSSEC.
pub struct DnsResolver(TokioResolver);

impl DnsResolver {
    /// Uses the DNS servers of the operating system's configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if that configuration cannot be read.
    pub fn from_system() -> Result<Self> {
        let builder = TokioResolver::builder_tokio().map_err(|e| misconfigured(&e))?;
        Self::build(builder)
    }

    /// Uses these servers, over UDP, and over TCP for a response that is too long for UDP.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if `servers` is empty.
    pub fn new(servers: impl IntoIterator<Item = SocketAddr>) -> Result<Self> {
        let servers: Vec<_> = servers
            .into_iter()
            .map(|server| {
                let mut config = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut config.connections {
                    connection.port = server.port();
                }
                config
            })
            .collect();
        if servers.is_empty() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "`DnsResolver::new` needs at least one server; pass its address",
            ));
        }
        let config = ResolverConfig::from_name_servers(servers);
        Self::build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
    }

    fn build(mut builder: hickory_resolver::ResolverBuilder<TokioRuntimeProvider>) -> Result<Self> {
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = 1;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        builder.build().map(Self).map_err(|e| misconfigured(&e))
    }
}

#[async_trait]
impl TxtLookup for DnsResolver {
    async fn txt(&self, name: &str) -> Result<Vec<String>> {
        // The trailing dot disables the search domains of the operating system.
        let found = match self.0.txt_lookup(format!("{name}.")).await {
            Ok(found) => found,
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => {
                let text = "the DNS query failed; nothing was changed, try again later";
                return Err(Error::new(ErrorKind::StoreUnavailable, text).with_source(error.to_string()));
            }
        };
        let records = found.answers().iter().filter_map(|record| match &record.data {
            // A text over 255 bytes consists of several strings. A record that is not UTF-8 matches no challenge.
            RData::TXT(txt) => String::from_utf8(txt.txt_data.concat()).ok(),
            _ => None,
        });
        Ok(records.collect())
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsResolver").finish_non_exhaustive()
    }
}

fn misconfigured(error: &NetError) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "the DNS configuration of the system cannot be read; pass the servers to `DnsResolver::new`",
    )
    .with_source(error.to_string())
}
