//! Connections that are used again: so many at most, waited for so long, looked at before use.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use smol::LocalExecutor;
use smol::future::FutureExt;
use smol_hyper::rt::FuturesIo;

use super::connect::Connector;
use crate::sink::Failure;

/// Settings of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most connections.
    pub(super) active: usize,
    /// The longest wait for one.
    pub(super) wait: Duration,
    /// Whether one that was idle is looked at before it is used.
    pub(super) test_on_borrow: bool,
}

/// Connections, idle or lent.
pub(super) struct Pool {
    connector: Connector,
    executor: Rc<LocalExecutor<'static>>,
    limits: Limits,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
    /// INVARIANT: those that are lent or being made, at most `limits.active`.
    lent: Cell<usize>,
}

/// A connection that is lent. Closed when it is dropped without being given back.
pub(super) struct Pooled<'p> {
    pool: &'p Pool,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Pool {
    pub(super) fn new(
        connector: Connector,
        executor: Rc<LocalExecutor<'static>>,
        limits: Limits,
    ) -> Self {
        Self { connector, executor, limits, idle: RefCell::default(), lent: Cell::new(0) }
    }

    /// Lends a connection: an idle one, or a new one. `time` bounds the wait, too.
    pub(super) async fn borrow(&self, time: Duration) -> Result<Pooled<'_>, Failure> {
        let mut pooled = self.lend();
        if self.limits.test_on_borrow {
            // What happened to idle connections is known to their tasks, once they ran.
            while self.executor.try_tick() {}
        }
        loop {
            let Some(connection) = self.idle.borrow_mut().pop() else { break };
            if !self.limits.test_on_borrow || connection.is_ready() {
                pooled.connection = Some(connection);
                return Ok(pooled);
            }
        }
        pooled.connection = Some(self.connect_in(time).await?);
        Ok(pooled)
    }

    /// Lends a new connection in place of all idle ones, which do not show whether the other side
    /// is still there.
    pub(super) async fn borrow_new(&self, time: Duration) -> Result<Pooled<'_>, Failure> {
        let mut pooled = self.lend();
        self.idle.borrow_mut().clear();
        pooled.connection = Some(self.connect_in(time).await?);
        Ok(pooled)
    }

    fn lend(&self) -> Pooled<'_> {
        debug_assert!(self.lent.get() < self.limits.active, "nobody asks for more");
        self.lent.set(self.lent.get() + 1);
        Pooled { pool: self, connection: None }
    }

    async fn connect_in(&self, time: Duration) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let wait = self.limits.wait.min(time);
        let late = async {
            smol::Timer::after(wait).await;
            Err(Failure::retry(format!("no connection in {} ms", wait.as_millis())))
        };
        self.connect().or(late).await
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = self.connector.connect().await.map_err(Failure::retry)?;
        let (sender, connection) =
            http1::handshake(FuturesIo::new(stream)).await.map_err(Failure::retry)?;
        let run = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        };
        self.executor.spawn(run).detach();
        Ok(sender)
    }
}

impl Pooled<'_> {
    /// Lends its sending side.
    pub(super) fn sender(&mut self) -> &mut SendRequest<Full<Bytes>> {
        self.connection.as_mut().expect("it has one until it is given back or dropped")
    }

    /// Gives it back, after an answer that was read to its end.
    pub(super) fn give_back(mut pooled: Self) {
        if let Some(connection) = pooled.connection.take()
            && !connection.is_closed()
        {
            pooled.pool.idle.borrow_mut().push(connection);
        }
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        self.pool.lent.set(self.pool.lent.get() - 1);
    }
}
