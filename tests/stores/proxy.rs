//! Fixture: a proxy in front of a server, which can close or silence its connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Connections are closed, and new ones at once.
    Closed,
    /// Connections stay open, and nothing is forwarded.
    Silent,
}

/// A running proxy. It ends when the value is dropped.
pub(crate) struct Proxy {
    state: Arc<watch::Sender<State>>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of the server of a URL.
    pub(crate) async fn start(server: &str) -> Self {
        let url = url::Url::parse(server).unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State::Open));
        let sender = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, state) = (server.clone(), sender.subscribe());
                tokio::spawn(async move {
                    if *state.borrow() == State::Open
                        && let Ok(server) = TcpStream::connect(server).await
                    {
                        forward(client, server, state).await;
                    }
                });
            }
        });
        Self { state, address, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/", self.address)
    }

    pub(crate) fn open(&self) {
        self.state.send_replace(State::Open);
    }

    pub(crate) fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    pub(crate) fn silence(&self) {
        self.state.send_replace(State::Silent);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards until the proxy is closed. A connection that was silenced stays silent until then.
async fn forward(mut client: TcpStream, mut server: TcpStream, mut state: watch::Receiver<State>) {
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = state.wait_for(|state| *state != State::Open) => {}
    }
    if *state.borrow() == State::Silent {
        let _ = state.wait_for(|state| *state == State::Closed).await;
    }
}
