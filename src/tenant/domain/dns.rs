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

/// For how long one server is waited for, each of the two times that it is asked.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks DNS, without a cache: a record that was just made is seen as soon as the servers that are asked have it.
///
/// # Security
/// Whoever controls the servers that are asked, or the way to them, decides whose a domain is. Ask resolvers of your own
/// network, best ones that validate DNSSEC.
pub struct DnsResolver(TokioResolver);

impl DnsResolver {
    /// Asks the servers that the operating system is set up with.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if these cannot be read.
    pub fn from_system() -> Result<Self> {
        let builder = TokioResolver::builder_tokio().map_err(|e| misconfigured(&e))?;
        Self::build(builder)
    }

    /// Asks these servers, over UDP, and over TCP where an answer is too long.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is none.
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
            return Err(Error::new(ErrorKind::Misconfigured, "DNS needs at least one server to ask"));
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
        // The dot at the end keeps the machine's own search domains out of it.
        let found = match self.0.txt_lookup(format!("{name}.")).await {
            Ok(found) => found,
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => {
                let text = "DNS did not answer; nothing was changed, try again later";
                return Err(Error::new(ErrorKind::StoreUnavailable, text).with_source(error.to_string()));
            }
        };
        let records = found.answers().iter().filter_map(|record| match &record.data {
            // A text of more than 255 bytes comes in several strings. What is no text matches nothing.
            RData::TXT(txt) => String::from_utf8(txt.txt_data.concat()).ok(),
            _ => None,
        });
        Ok(records.collect())
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

fn misconfigured(error: &NetError) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "the DNS servers to ask cannot be read; name them with `DnsResolver::new`",
    )
    .with_source(error.to_string())
}
