//! A `PostgreSQL` database: records as rows, each exactly once.
//!
//! One transaction brings rows and moves the progress of the flow, (epoch, seq). What it says is
//! known is not copied again, whatever happened in between: a commit whose answer was lost, a
//! process that was killed, a server that came back. Rings have rows of their own, by their epoch.
//! With several connections, the records of a batch are divided by their sequence number, and each
//! part has a progress of its own.

mod columns;
mod pool;
mod security;
mod target;
#[cfg(feature = "tls")]
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use aqueduct::config::Millis;
use bytes::Bytes;
use futures_util::SinkExt;
use serde::Deserialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement, Transaction};

use self::columns::{ColumnTable, Columns, Method, quoted};
use self::pool::{Connection, Limits, Pool, Texts};
use self::security::{Mode, Security};
use self::target::Target;
use super::Context;
use super::join::join_all;
use crate::batch::{Records, View};
use crate::sink::{Delivered, Failure, Sink};
use crate::stop::Stop;

/// Bytes of rows that are sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of rows in a statement.
const STATEMENT_BYTES: usize = 256 << 10;
/// After so long the progress of a ring that is gone is removed.
const FORGOTTEN_DAYS: u32 = 30;

/// `[sink]` with `kind = "postgres"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "a table of the file that names tables of a database")]
pub struct Table {
    /// `postgresql://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?…`, or `key=value` pairs.
    url: Option<String>,
    /// A file with the same, where it holds a password.
    url_file: Option<PathBuf>,
    /// How much a connection must be protected; as `sslmode` in the URL.
    sslmode: Option<Mode>,
    /// Certificates of authorities, PEM; as `sslrootcert` in the URL.
    ca_file: Option<PathBuf>,
    /// The client's own certificate and its key, PEM; as `sslcert` and `sslkey` in the URL.
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    /// The table, `name` or `schema.name`. It must be there.
    table: String,
    /// Its columns, and what is put into them.
    columns: Vec<ColumnTable>,
    /// How rows are sent.
    #[serde(default)]
    method: Method,
    /// What `INSERT` does about a row that is there: SQL after the words `ON CONFLICT`.
    on_conflict: Option<String>,
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
    method: Method,
    /// The statement, or what is before its rows.
    statement: String,
    /// What comes after the rows of `INSERT`.
    on_conflict: Option<String>,
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
        let timeout = Duration::from_millis(table.timeout_ms.map_or(30_000, |time| time.0));
        let wait = Duration::from_millis(table.max_wait_ms.map_or(5000, |time| time.0));
        let target = Target {
            url: table.url,
            url_file: table.url_file,
            security: Security {
                mode: table.sslmode,
                ca_file: table.ca_file,
                cert_file: table.cert_file,
                key_file: table.key_file,
            },
            wait,
        };
        target.read()?;
        if table.method == Method::Copy && table.on_conflict.is_some() {
            return Err("sink.on_conflict: only with method = \"insert\"".to_owned());
        }
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
                 epoch text, seq numeric(20) NOT NULL, at timestamptz NOT NULL DEFAULT now(), \
                 PRIMARY KEY (flow, epoch, parts, part))"
            ),
            is_old: format!(
                "SELECT NOT EXISTS (SELECT FROM pg_attribute \
                 WHERE attrelid = '{literal}'::regclass AND attname = 'at')"
            ),
            renew: format!(
                "DO $renew$ DECLARE old text; BEGIN \
                 LOCK TABLE {progress} IN ACCESS EXCLUSIVE MODE; \
                 SELECT conname INTO old FROM pg_constraint \
                 WHERE conrelid = '{literal}'::regclass AND contype = 'p' \
                 AND NOT EXISTS (SELECT FROM pg_attribute \
                 WHERE attrelid = '{literal}'::regclass AND attname = 'at'); \
                 IF old IS NOT NULL THEN \
                 EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I, \
                 ADD COLUMN at timestamptz NOT NULL DEFAULT now(), \
                 ADD PRIMARY KEY (flow, epoch, parts, part)', '{literal}'::regclass, old); \
                 END IF; END $renew$"
            ),
            known: format!(
                "SELECT parts, part, seq::text FROM {progress} WHERE flow = $1 AND epoch = $2 \
                 AND (parts <> $3 OR part = $4) ORDER BY parts, part FOR UPDATE"
            ),
            // Nothing of this epoch is known yet: no number is below 0.
            begin: format!(
                "INSERT INTO {progress} (flow, epoch, parts, part, seq) \
                 VALUES ($1, $2, $3, $4, -1) ON CONFLICT (flow, epoch, parts, part) DO NOTHING"
            ),
            forget: format!(
                "DELETE FROM {progress} WHERE flow = $1 AND epoch <> $2 \
                 AND at < now() - interval '{FORGOTTEN_DAYS} days'"
            ),
            advance: format!(
                "UPDATE {progress} SET seq = $5::text::numeric, at = now() \
                 WHERE flow = $1 AND epoch = $2 AND parts = $3 AND part = $4"
            ),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let limits = Limits { wait, test_on_borrow: table.test_on_borrow, statement: timeout };
        Ok(Self {
            runtime: runtime.map_err(|error| format!("the runtime: {error}"))?,
            local: tokio::task::LocalSet::new(),
            pool: Pool::new(target, limits),
            method: table.method,
            statement: match table.method {
                Method::Copy => format!("COPY {data} ({}) FROM STDIN", columns.names()),
                Method::Insert => format!("INSERT INTO {data} ({}) VALUES ", columns.names()),
            },
            on_conflict: table.on_conflict,
            texts,
            columns,
            flow: context.flow.clone(),
            parts,
            timeout,
        })
    }

    /// Delivers the rows of a part.
    async fn part(&self, part: u16, records: &Records<'_>) -> Result<Done, Failure> {
        if !records.iter().any(|record| self.is_of(part, record.seq)) {
            return Ok(Done::default());
        }
        let mut connection = self.pool.borrow(&self.texts).await?;
        let done = self.transaction(&mut connection, part, records).await;
        match done {
            Ok(done) => {
                self.pool.give_back(connection);
                Ok(done)
            }
            // Closed: the server rolls back what is not committed.
            Err(error) => Err(failure_of(&error)),
        }
    }

    /// Whether a record is one of a part.
    fn is_of(&self, part: u16, seq: u64) -> bool {
        seq % u64::from(self.parts) == u64::from(part)
    }

    async fn transaction(
        &self,
        connection: &mut Connection,
        own: u16,
        records: &Records<'_>,
    ) -> Result<Done, tokio_postgres::Error> {
        let (parts, part) = (i32::from(self.parts), i32::from(own));
        let epoch = format!("{:016x}", records.epoch());
        let Connection { client, known, advance } = connection;
        let mut transaction = client.transaction().await?;
        let row: [&(dyn ToSql + Sync); 4] = [&self.flow, &epoch, &parts, &part];
        let known = if let Some(found) = self.known(&transaction, known, row).await? {
            found
        } else {
            transaction.rollback().await?;
            client.execute(&self.texts.forget, &row[..2]).await?;
            client.execute(&self.texts.begin, &row).await?;
            transaction = client.transaction().await?;
            self.known(&transaction, known, row).await?.unwrap_or_default()
        };
        let is_known = |seq: u64| known.iter().any(|&(of, at, to)| seq % of == at && seq <= to);
        let mine = || records.iter().enumerate().filter(|(_, it)| self.is_of(own, it.seq));
        let known = mine().filter(|(_, record)| is_known(record.seq)).count() as u64;
        let new = mine().filter(|(_, record)| !is_known(record.seq));
        let written = match self.method {
            Method::Copy => self.copy(&transaction, new).await?,
            Method::Insert => self.insert(&transaction, new).await?,
        };
        if let Some(last) = written.last {
            let last = last.to_string();
            let values: [&(dyn ToSql + Sync); 5] = [&self.flow, &epoch, &parts, &part, &last];
            transaction.execute(&*advance, &values).await?;
        }
        transaction.commit().await?;
        Ok(Done { known, refused: written.refused })
    }

    /// Sends rows up to the first record that has none. The next ones are written while the server
    /// reads those that were sent.
    async fn copy<'r>(
        &self,
        transaction: &Transaction<'_>,
        records: impl Iterator<Item = (usize, View<'r>)>,
    ) -> Result<Written, tokio_postgres::Error> {
        let mut written = Written::default();
        let mut piece = Vec::with_capacity(PIECE_BYTES * 2);
        let copy = transaction.copy_in::<_, Bytes>(&self.statement).await?;
        let mut copy = std::pin::pin!(copy);
        for (at, record) in records {
            if !written.row(&self.columns, Method::Copy, (at, &record), &mut piece) {
                break;
            }
            if piece.len() >= PIECE_BYTES {
                let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES * 2));
                copy.send(Bytes::from(full)).await?;
            }
        }
        if !piece.is_empty() {
            copy.send(Bytes::from(piece)).await?;
        }
        copy.finish().await?;
        Ok(written)
    }

    /// Inserts rows up to the first record that has none.
    async fn insert<'r>(
        &self,
        transaction: &Transaction<'_>,
        records: impl Iterator<Item = (usize, View<'r>)>,
    ) -> Result<Written, tokio_postgres::Error> {
        let mut written = Written::default();
        let (mut together, mut bytes) = (Vec::new(), 0);
        for (at, record) in records {
            let mut row = Vec::new();
            if !written.row(&self.columns, Method::Insert, (at, &record), &mut row) {
                break;
            }
            if bytes + row.len() > STATEMENT_BYTES && !together.is_empty() {
                self.insert_rows(transaction, &together).await?;
                together.clear();
                bytes = 0;
            }
            bytes += row.len();
            // Rows are made of text.
            together.push(String::from_utf8(row).expect("a row is made of text"));
        }
        if !together.is_empty() {
            self.insert_rows(transaction, &together).await?;
        }
        Ok(written)
    }

    async fn insert_rows(
        &self,
        transaction: &Transaction<'_>,
        rows: &[String],
    ) -> Result<(), tokio_postgres::Error> {
        let begin = &self.statement;
        let Some(on_conflict) = &self.on_conflict else {
            return transaction.batch_execute(&format!("{begin}{}", rows.join(","))).await;
        };
        let all = format!(
            "SAVEPOINT rows; {begin}{} ON CONFLICT {on_conflict}; RELEASE rows",
            rows.join(",")
        );
        match transaction.batch_execute(&all).await {
            // Two of these rows are for one of the table, which a statement changes only once.
            Err(error) if error.code() == Some(&SqlState::CARDINALITY_VIOLATION) => {
                let mut each = "ROLLBACK TO rows; RELEASE rows".to_owned();
                for row in rows {
                    each.extend(["; ", begin, row.as_str(), " ON CONFLICT ", on_conflict]);
                }
                transaction.batch_execute(&each).await
            }
            done => done,
        }
    }
}

impl Postgres {
    /// Locks and returns what is known: of sequence numbers that leave a rest by a number, those up
    /// to another one. `None`: the row that says so is not there.
    ///
    /// The lock waits for the transaction of a process that was killed: it may still be committed.
    /// So the row is made, and committed, before the first transaction that moves it.
    async fn known(
        &self,
        transaction: &Transaction<'_>,
        statement: &Statement,
        row: [&(dyn ToSql + Sync); 4],
    ) -> Result<Option<Vec<(u64, u64, u64)>>, tokio_postgres::Error> {
        let rows = transaction.query(statement, &row).await?;
        let parts = i32::from(self.parts);
        let is_there = rows.iter().any(|row| row.get::<_, i32>(0) == parts);
        let number = |row: &Row, at| u64::try_from(row.get::<_, i32>(at)).unwrap_or(0);
        let known = rows.iter().filter_map(|row| {
            let seq = row.get::<_, &str>(2).parse().ok()?;
            Some((number(row, 0).max(1), number(row, 1), seq))
        });
        Ok(is_there.then(|| known.collect()))
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
    // The server's own time for a statement was over.
    if *code == SqlState::QUERY_CANCELED {
        return Failure::fewer(reason);
    }
    Failure::retry(reason)
}

/// What became of the records of a part.
#[derive(Debug, Default)]
struct Done {
    /// Those that were there already.
    known: u64,
    /// The first that has no row, counted from 0 in the batch, and why.
    refused: Option<(usize, String)>,
}

/// Rows that were sent.
#[derive(Debug, Default)]
struct Written {
    /// The last of them.
    last: Option<u64>,
    /// The record after it, if that has none, and why.
    refused: Option<(usize, String)>,
}

impl Written {
    /// Appends the row of a record; returns whether it has one.
    fn row(
        &mut self,
        columns: &Columns,
        method: Method,
        (at, record): (usize, &View<'_>),
        into: &mut Vec<u8>,
    ) -> bool {
        let begin = into.len();
        if let Err(reason) = columns.row(method, record, into) {
            into.truncate(begin);
            self.refused = Some((at, reason));
            return false;
        }
        self.last = Some(record.seq);
        true
    }
}

impl Sink for Postgres {
    fn deliver(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Delivered, Failure> {
        let time = stop.time_for(self.timeout);
        let work = async {
            let parts = (0..self.parts).map(|part| Box::pin(self.part(part, records)));
            let all = tokio::time::timeout(time, join_all(parts.collect()));
            let late = || Failure::fewer(format!("no answer in {} ms", time.as_millis()));
            let mut all_done = Done::default();
            for part in all.await.map_err(|_| late())? {
                let Done { known, refused } = part?;
                all_done.known += known;
                // Those before the first record without a row are delivered.
                let before = all_done.refused.take();
                all_done.refused = before.into_iter().chain(refused).min_by_key(|(at, _)| *at);
            }
            Ok::<_, Failure>(all_done)
        };
        let Done { known, refused } = self.local.block_on(&self.runtime, work)?;
        refused.map_or(Ok(Delivered { known }), |(at, reason)| Err(Failure::poison(at, reason)))
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

    fn refuses(&self, record: &View<'_>) -> Option<String> {
        self.columns.row(self.method, record, &mut Vec::new()).err()
    }
}
