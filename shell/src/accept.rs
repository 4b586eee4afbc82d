//! The one accept loop, for every kind of listening socket.

use std::future::Future;
use std::io;
use std::time::Duration;

use smol::net::{TcpListener, TcpStream};
use smol::{Timer, future};

use crate::shutdown::Shutdown;

/// Pause after a failed accept, which is mostly a lack of descriptors; doubled as long as it fails.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A listening socket.
pub trait Accept: Send + Sync {
    /// What it accepts.
    type Connection: Send;

    /// Names the connections in the log.
    const KIND: &'static str;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Accept for TcpListener {
    type Connection = TcpStream;
    const KIND: &'static str = "TCP";

    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(TcpListener::accept(self).await?.0)
    }
}

/// Accepts connections and hands them on, one after the other, until the process begins to end.
pub async fn until_shutdown<L, F>(
    listener: &L,
    shutdown: &Shutdown,
    connected: impl FnMut(L::Connection) -> F + Send,
) where
    L: Accept,
    F: Future<Output = ()> + Send,
{
    future::or(forever(listener, connected), shutdown.wait()).await;
}

/// Accepts connections and hands them on, one after the other.
pub async fn forever<L, F>(listener: &L, mut connected: impl FnMut(L::Connection) -> F + Send)
where
    L: Accept,
    F: Future<Output = ()> + Send,
{
    let mut pause = PAUSE;
    loop {
        match listener.accept().await {
            Ok(connection) => {
                pause = PAUSE;
                connected(connection).await;
            }
            Err(error) => {
                tracing::warn!(kind = L::KIND, %error, "connection not accepted");
                Timer::after(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}
