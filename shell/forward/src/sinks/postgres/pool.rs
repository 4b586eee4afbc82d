//! Connections that are used again: so many at most, waited for so long, asked before use.

use std::cell::RefCell;
use std::time::Duration;

use tokio_postgres::{Client, Statement};

use super::failure_of;
use super::target::Target;
use crate::sink::Failure;

/// What makes connections TLS.
#[cfg(feature = "tls")]
pub(super) type Connector = super::tls::Tls;
#[cfg(not(feature = "tls"))]
pub(super) type Connector = tokio_postgres::NoTls;

/// Settings of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest wait for a connection.
    pub(super) wait: Duration,
    /// Whether a connection is asked whether it is alive before it is used.
    pub(super) test_on_borrow: bool,
    /// The longest that a statement may take.
    pub(super) statement: Duration,
}

/// Connections that nobody uses.
pub(super) struct Pool {
    target: Target,
    limits: Limits,
    idle: RefCell<Vec<Connection>>,
}

/// A connection, and what was prepared on it.
pub(super) struct Connection {
    pub(super) client: Client,
    /// Locks and reads what is known.
    pub(super) known: Statement,
    /// Moves it.
    pub(super) advance: Statement,
}

/// The statements of a connection.
pub(super) struct Texts {
    pub(super) known: String,
    /// Makes the row of a part, if it is not there.
    pub(super) begin: String,
    /// Removes the rows of other epochs that have not moved for long.
    pub(super) forget: String,
    pub(super) advance: String,
    /// Makes the table of the progress; only if it is not there.
    pub(super) create: String,
    /// Whether it is there.
    pub(super) exists: String,
    /// Whether an earlier version made it, with one row for all epochs of a flow.
    pub(super) is_old: String,
    /// Makes it one of this version, whose rows go on.
    pub(super) renew: String,
}

impl Pool {
    pub(super) fn new(target: Target, limits: Limits) -> Self {
        Self { target, limits, idle: RefCell::default() }
    }

    /// Lends a connection: an idle one that is alive, or a new one. Dropped, it is closed.
    pub(super) async fn borrow(&self, texts: &Texts) -> Result<Connection, Failure> {
        let limit = self.limits.wait;
        let found = tokio::time::timeout(limit, async {
            loop {
                let Some(connection) = self.idle.borrow_mut().pop() else { break };
                if !self.limits.test_on_borrow || connection.client.simple_query("").await.is_ok() {
                    return Ok(connection);
                }
            }
            let (config, connector) = self.target.read().map_err(Failure::retry)?;
            let connection = config.connect(connector).await;
            let (client, connection) = connection.map_err(|error| failure_of(&error))?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended");
                }
            });
            self.prepare(client, texts).await.map_err(|error| failure_of(&error))
        });
        let late = || Failure::retry(format!("no connection in {} ms", limit.as_millis()));
        found.await.unwrap_or_else(|_| Err(late()))
    }

    /// Takes a connection back, after its transaction has ended well.
    pub(super) fn give_back(&self, connection: Connection) {
        if !connection.client.is_closed() {
            self.idle.borrow_mut().push(connection);
        }
    }

    /// Whether the server answers on a connection that was idle, or on a new one.
    pub(super) async fn probe(&self, texts: &Texts) -> Result<(), Failure> {
        let connection = self.borrow(texts).await?;
        connection.client.simple_query("").await.map_err(|error| failure_of(&error))?;
        self.give_back(connection);
        Ok(())
    }

    /// Makes a session ready for use.
    async fn prepare(
        &self,
        client: Client,
        texts: &Texts,
    ) -> Result<Connection, tokio_postgres::Error> {
        let limit_ms = self.limits.statement.as_millis();
        // A session keeps its locks while the server believes in its client, after a cut of power
        // for two hours. In COPY only the kernel's probes find that out, in a transaction otherwise
        // also the time between two statements. Of these, servers are told what they know.
        let settings = format!(
            "SET statement_timeout = {limit_ms}; SET standard_conforming_strings = on; \
             SELECT set_config(name, value, false) FROM pg_settings JOIN (VALUES \
             ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '2'), \
             ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '11000'), \
             ('idle_in_transaction_session_timeout', '{limit_ms}')) AS wanted (name, value) \
             USING (name)"
        );
        client.batch_execute(&settings).await?;
        let exists: bool = client.query_one(&texts.exists, &[]).await?.get(0);
        if !exists {
            client.batch_execute(&texts.create).await?;
        } else if client.query_one(&texts.is_old, &[]).await?.get(0) {
            client.batch_execute(&texts.renew).await?;
        }
        let known = client.prepare(&texts.known).await?;
        let advance = client.prepare(&texts.advance).await?;
        Ok(Connection { client, known, advance })
    }
}
