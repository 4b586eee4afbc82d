//! A `PostgreSQL` database: records as rows, each exactly once.
//!
//! One transaction copies rows and moves the progress of the flow, (epoch, seq). What it says is
//! known is not copied again, whatever happened in between: a commit whose answer was lost, a
//! process that was killed, a server that came back. With several connections, the records of a
//! batch are divided by their sequence number, and each part has a progress of its own.

mod columns;
mod pool;

use std::time::Duration;

use aqueduct::config::Millis;
use bytes::Bytes;
use futures_util::SinkExt;
use serde::Deserialize;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row, Statement, Transaction};

use self::columns::{ColumnTable, Columns, quoted};
use self::pool::{Connection, Limits, Pool, Texts};
use super::Context;
use super::join::join_all;
use crate::batch::{Records, View};
use crate::sink::{Delivered, Failure, Sink};
use crate::stop::Stop;

/// Bytes of rows that are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// `[sink]` with `kind = "postgres"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "a table of the file that names tables of a database")]
pub struct Table {
    /// `postgresql://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?…`, or `key=value` pairs.
    url: Option<String>,
    /// A file with the same, where it holds a password.
    url_file: Option<std::path::PathBuf>,
    /// The table, `name` or `schema.name`. It must be there.
    table: String,
    /// Its columns, and what is put into them.
    columns: Vec<ColumnTable>,
    /// The table of the progress; made if it is not there.
    progress_table: Option<String>,
    /// Most connections, and transactions at once.
    max_active: Option<u16>,
    /// The longest wait for a connection.
    max_wait_ms: Option<Millis>,
    /// Whether a connection is asked whether it is alive before it is used.
    #[serde(default = "super::yes")]
    test_on_borrow: bool,
    /// The longest that a statement, and a whole batch, may take.
    timeout_ms: Option<Millis>,
}

/// The sink.
pub struct Postgres {
    runtime: tokio::runtime::Runtime,
    /// Where the tasks of connections live.
    local: tokio::task::LocalSet,
    pool: Pool,
    texts: Texts,
    copy: String,
    columns: Columns,
    flow: String,
    parts: u16,
    timeout: Duration,
}

impl Postgres {
    /// Takes the settings. Connections are made when there is something to deliver.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(table: Table, context: &Context) -> Result<Self, String> {
        let url = match (table.url, table.url_file) {
            (Some(url), None) => url,
            (None, Some(path)) => std::fs::read_to_string(&path)
                .map_err(|error| format!("sink.url_file: {}: {error}", path.display()))?,
            _ => return Err("sink.url: one of url and url_file".to_owned()),
        };
        let timeout = Duration::from_millis(table.timeout_ms.map_or(30_000, |time| time.0));
        let wait = Duration::from_millis(table.max_wait_ms.map_or(5000, |time| time.0));
        // The reason does not repeat the text, which may have a password in it.
        let mut config: Config =
            url.trim().parse().map_err(|error| format!("sink.url: {error}"))?;
        config.application_name("aqueduct-forward").connect_timeout(wait);
        let parts = table.max_active.unwrap_or(1);
        if parts == 0 {
            return Err("sink.max_active: at least 1".to_owned());
        }
        let columns = Columns::new(table.columns)?;
        let data = qualified(&table.table);
        let progress = qualified(table.progress_table.as_deref().unwrap_or("aqueduct_progress"));
        let literal = progress.replace('\'', "''");
        let texts = Texts {
            exists: format!("SELECT to_regclass('{literal}') IS NOT NULL"),
            create: format!(
                "CREATE TABLE IF NOT EXISTS {progress} (flow text, parts int, part int, \
                 epoch text NOT NULL, seq numeric(20) NOT NULL, PRIMARY KEY (flow, parts, part))"
            ),
            known: format!(
                "SELECT parts, part, epoch, seq::text FROM {progress} \
                 WHERE flow = $1 AND (parts <> $2 OR part = $3) ORDER BY parts, part FOR UPDATE"
            ),
            begin: format!(
                "INSERT INTO {progress} (flow, parts, part, epoch, seq) \
                 VALUES ($1, $2, $3, '', 0) ON CONFLICT (flow, parts, part) DO NOTHING"
            ),
            forget: format!(
                "DELETE FROM {progress} WHERE flow = $1 AND parts <> $2 AND epoch <> $3"
            ),
            advance: format!(
                "UPDATE {progress} SET epoch = $4, seq = $5::text::numeric \
                 WHERE flow = $1 AND parts = $2 AND part = $3"
            ),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let limits = Limits { wait, test_on_borrow: table.test_on_borrow, statement: timeout };
        Ok(Self {
            runtime: runtime.map_err(|error| format!("the runtime: {error}"))?,
            local: tokio::task::LocalSet::new(),
            pool: Pool::new(config, limits),
            copy: format!("COPY {data} ({}) FROM STDIN", columns.names()),
            texts,
            columns,
            flow: context.flow.clone(),
            parts,
            timeout,
        })
    }

    /// Delivers the records of a part; returns how many of them were known.
    async fn part(&self, part: u16, records: &Records<'_>) -> Result<u64, Failure> {
        let is_mine = |record: &View<'_>| record.seq % u64::from(self.parts) == u64::from(part);
        let Some(last) = records.iter().filter(is_mine).map(|record| record.seq).last() else {
            return Ok(0);
        };
        let mut connection = self.pool.borrow(&self.texts).await?;
        let done = self.transaction(&mut connection, part, records, last).await;
        match done {
            Ok(known) => {
                self.pool.give_back(connection);
                Ok(known)
            }
            // Closed: the server rolls back what is not committed.
            Err(error) => Err(failure_of(&error)),
        }
    }

    async fn transaction(
        &self,
        connection: &mut Connection,
        part: u16,
        records: &Records<'_>,
        last: u64,
    ) -> Result<u64, tokio_postgres::Error> {
        let (parts, part) = (i32::from(self.parts), i32::from(part));
        let epoch = format!("{:016x}", records.epoch());
        let Connection { client, known, advance } = connection;
        let transaction = client.transaction().await?;
        let known = self.known(&transaction, known, parts, part, &epoch).await?;
        let is_known = |seq: u64| known.iter().any(|&(of, at, to)| seq % of == at && seq <= to);
        let (mut known_records, mut new_records) = (0, 0_u64);
        let mut rows = Vec::with_capacity(PIECE_BYTES * 2);
        let copy = transaction.copy_in::<_, Bytes>(&self.copy).await?;
        let mut copy = std::pin::pin!(copy);
        for record in records.iter() {
            if record.seq % u64::from(self.parts) != u64::try_from(part).unwrap_or(0) {
                continue;
            }
            if is_known(record.seq) {
                known_records += 1;
                continue;
            }
            let before = rows.len();
            // It was tried before the transaction began.
            if self.columns.row(&record, &mut rows).is_err() {
                rows.truncate(before);
            }
            new_records += 1;
            if rows.len() >= PIECE_BYTES {
                copy.send(Bytes::from(std::mem::take(&mut rows))).await?;
            }
        }
        if !rows.is_empty() {
            copy.send(Bytes::from(rows)).await?;
        }
        copy.finish().await?;
        if new_records > 0 {
            let last = last.to_string();
            let values: [&(dyn ToSql + Sync); 5] = [&self.flow, &parts, &part, &epoch, &last];
            transaction.execute(&*advance, &values).await?;
        }
        transaction.commit().await?;
        Ok(known_records)
    }
}

impl Postgres {
    /// Locks and returns what is known: of sequence numbers that leave a rest by a number, those up
    /// to another one.
    ///
    /// The lock waits for the transaction of a process that was killed: it may still be committed.
    /// So it is on rows of whatever epoch, and the first row is made before.
    async fn known(
        &self,
        transaction: &Transaction<'_>,
        statement: &Statement,
        parts: i32,
        part: i32,
        epoch: &str,
    ) -> Result<Vec<(u64, u64, u64)>, tokio_postgres::Error> {
        let values: [&(dyn ToSql + Sync); 3] = [&self.flow, &parts, &part];
        let mut rows = transaction.query(statement, &values).await?;
        if !rows.iter().any(|row| row.get::<_, i32>(0) == parts) {
            transaction.execute(&self.texts.begin, &values).await?;
            rows = transaction.query(statement, &values).await?;
        }
        let is_old = |row: &Row| row.get::<_, i32>(0) != parts && row.get::<_, &str>(2) != epoch;
        if rows.iter().any(is_old) {
            transaction.execute(&self.texts.forget, &[&self.flow, &parts, &epoch]).await?;
        }
        let number = |row: &Row, at| u64::try_from(row.get::<_, i32>(at)).unwrap_or(0);
        let known = rows.iter().filter(|row| row.get::<_, &str>(2) == epoch).filter_map(|row| {
            let seq = row.get::<_, &str>(3).parse().ok()?;
            Some((number(row, 0).max(1), number(row, 1), seq))
        });
        Ok(known.collect())
    }
}

/// Quotes the name of a table, with its schema if it has one.
fn qualified(name: &str) -> String {
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

/// What an error of the server or of the way to it means.
fn failure_of(error: &tokio_postgres::Error) -> Failure {
    let Some(server) = error.as_db_error() else {
        let mut reason = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            reason = format!("{reason}: {source}");
        }
        return Failure::retry(reason);
    };
    let code = server.code();
    let place = server.where_().map(|place| format!(" ({place})")).unwrap_or_default();
    let reason = format!("{}: {}{place}", code.code(), server.message());
    // Data exceptions and violated constraints are about the records. Everything else is about the
    // server, and may pass: a table that is not there yet, a role, a lock, a shutdown.
    if code.code().starts_with("22") || code.code().starts_with("23") {
        return Failure::split(reason);
    }
    Failure::retry(reason)
}

impl Sink for Postgres {
    fn deliver(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Delivered, Failure> {
        // The first record without a row; those before it are delivered.
        let mut scratch = Vec::new();
        let refused = records.iter().enumerate().find_map(|(at, record)| {
            scratch.clear();
            let row = self.columns.row(&record, &mut scratch);
            row.err().map(|reason| Failure::poison(at, reason))
        });
        let records = match &refused {
            Some(failure) => records.slice(0..failure.done),
            None => records.clone(),
        };
        let time = stop.time_for(self.timeout);
        let work = async {
            let parts = (0..self.parts).map(|part| Box::pin(self.part(part, &records)));
            let all = tokio::time::timeout(time, join_all(parts.collect()));
            let late = || Failure::retry(format!("no answer in {} ms", time.as_millis()));
            let mut known = 0;
            for part in all.await.map_err(|_| late())? {
                known += part?;
            }
            Ok(Delivered { known })
        };
        let delivered = self.local.block_on(&self.runtime, work)?;
        refused.map_or(Ok(delivered), Err)
    }

    fn probe(&mut self, stop: &Stop) -> Result<(), Failure> {
        let time = stop.time_for(self.timeout);
        let probe = async {
            let late = || Failure::retry(format!("no answer in {} ms", time.as_millis()));
            let probed = tokio::time::timeout(time, self.pool.probe(&self.texts));
            probed.await.map_err(|_| late())?
        };
        self.local.block_on(&self.runtime, probe)
    }
}
