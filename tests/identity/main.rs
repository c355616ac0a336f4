//! Tenant resolution: hosts, headers, tokens, API keys, domains, sessions, and the middleware.

#[macro_use]
#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/log.rs"]
mod log;
#[path = "../fixture/server.rs"]
mod server;
#[path = "../fixture/suites.rs"]
mod suites;

mod algorithms;
mod api_keys;
mod dns;
mod domains;
mod extractors;
mod fixture;
mod hosts;
mod http_servers;
mod identity;
mod issuers;
mod jwks;
mod jwks_document;
mod jwks_foreign;
mod jwks_web;
mod login;
mod logs;
mod metrics;
mod middleware;
mod plan_rules;
mod regions;
mod requests;
mod resolution;
mod schemes;
mod sessions;
mod socket_client;
mod tls;
mod token;
mod tokens;
mod wire;
