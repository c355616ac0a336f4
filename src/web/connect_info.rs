use std::net::SocketAddr;

use axum::extract::{ConnectInfo, OriginalUri};
use http::{Extensions, Uri};

/// What axum's server knows of the connection.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// The target as it was sent, where a nested router has cut off the part of its path that it matched. A target that
/// was rewritten otherwise stands.
pub(super) fn sent<'a>(extensions: &'a Extensions, left: &Uri) -> Option<&'a Uri> {
    let sent = &extensions.get::<OriginalUri>()?.0;
    (left.path() == "/" || sent.path().ends_with(left.path())).then_some(sent)
}
