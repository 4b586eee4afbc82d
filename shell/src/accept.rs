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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;
    use crate::sync::lock;

    /// Accepts what it is told, one after the other, and then nothing.
    struct Told(Mutex<Vec<io::Result<u32>>>);

    impl Accept for Told {
        type Connection = u32;
        const KIND: &'static str = "test";

        async fn accept(&self) -> io::Result<u32> {
            let next = lock(&self.0).pop();
            match next {
                Some(told) => told,
                None => future::pending().await,
            }
        }
    }

    #[test]
    fn connections_come_in_order_failures_are_waited_out_and_the_shutdown_ends_it() {
        let failed = || Err(io::Error::from_raw_os_error(libc::EMFILE));
        let told = [Ok(1), Ok(2), failed(), failed(), Ok(3), failed(), Ok(4)];
        let listener = Told(Mutex::new(told.into_iter().rev().collect()));
        let (shutdown, begun) = (Shutdown::default(), Instant::now());
        let mut seen = Vec::new();
        smol::block_on(until_shutdown(&listener, &shutdown, |connection| {
            seen.push((connection, begun.elapsed()));
            if connection == 4 {
                shutdown.begin();
            }
            async {}
        }));
        let (order, times): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
        assert_eq!(order, [1, 2, 3, 4]);
        // One pause, and one of twice the length; after a success, the short one.
        assert!(times[2] >= 3 * PAUSE, "{times:?}");
        let last = times[3].saturating_sub(times[2]);
        assert!((PAUSE..4 * PAUSE).contains(&last), "{times:?}");
    }
}
