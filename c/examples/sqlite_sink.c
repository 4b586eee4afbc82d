/* Stores records in an SQLite database: every one exactly once, through the death of this program
 * at any moment, and through restarts of the listener as long as this program lives to drain the
 * old ring. What survives what: README.md. Run: build/sqlite_sink records.db /run/aqueduct.sock
 * demo audit Expect: ring 5f0c3a9be2d14477 from 0      then: sqlite3 records.db 'SELECT seq,
 * payload FROM records ORDER BY id'
 *
 * Rows and the position behind them are one transaction; the ring gets its records back after the
 * commit. A death before the commit leaves neither, and the ring delivers again; a death behind it
 * leaves both, and aqd_seek skips what the ring delivers again. One database is for one
 * subscription. SIGINT and SIGTERM end it. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "aqueduct/client.h"

/* A transaction takes so many records at most. */
#define BATCH_MAX 1000

/* records.id: the order of arrival. A second row of one (epoch, seq) is an error, not overlooked.
 * gaps: numbers that never came. */
#define SCHEMA                                                                                                                             \
    "CREATE TABLE IF NOT EXISTS records(id INTEGER PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL, type INTEGER NOT NULL,"         \
    " timestamp_ns INTEGER NOT NULL, payload BLOB NOT NULL, UNIQUE(epoch, seq));"                                                          \
    "CREATE TABLE IF NOT EXISTS positions(epoch TEXT PRIMARY KEY, next_seq INTEGER NOT NULL);"                                             \
    "CREATE TABLE IF NOT EXISTS gaps(epoch TEXT NOT NULL, first_seq INTEGER NOT NULL, next_seq INTEGER NOT NULL);"

struct sink {
    aqd_client *c;
    sqlite3 *db;
    sqlite3_stmt *insert, *advance, *gap, *stored;
    char epoch[17];    /* of the ring being read, as the listener writes it in its answers */
    uint64_t next_seq; /* INVARIANT: every number before it is in records or gaps, once the transaction is committed */
    bool open;         /* a transaction is */
};

static aqd_client *interruptible;

static void stop(int signal)
{
    (void)signal;
    aqd_interrupt(interruptible);
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("sqlite_sink: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1); /* an open transaction is rolled back, and the ring delivers its records again */
}

static void must(struct sink *s, int result)
{
    if (result != SQLITE_OK && result != SQLITE_DONE && result != SQLITE_ROW) {
        die("%s", sqlite3_errmsg(s->db));
    }
}

static void execute(struct sink *s, const char *sql) { must(s, sqlite3_exec(s->db, sql, NULL, NULL, NULL)); }

static sqlite3_stmt *prepare(struct sink *s, const char *sql)
{
    sqlite3_stmt *statement;
    must(s, sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL));
    return statement;
}

static void finish(struct sink *s, sqlite3_stmt *statement)
{
    must(s, sqlite3_step(statement));
    must(s, sqlite3_reset(statement));
}

static void begin(struct sink *s)
{
    if (!s->open) {
        execute(s, "BEGIN IMMEDIATE");
        s->open = true;
    }
}

/* The order that it is all about: rows and position, then the commit, then the release. */
static void commit(struct sink *s)
{
    if (s->open) {
        sqlite3_bind_text(s->advance, 1, s->epoch, -1, SQLITE_STATIC);
        sqlite3_bind_int64(s->advance, 2, (sqlite3_int64)s->next_seq);
        finish(s, s->advance);
        execute(s, "COMMIT");
        s->open = false;
    }
    aqd_release(s->c);
}

static void note_gap(struct sink *s, uint64_t next_seq)
{
    begin(s);
    sqlite3_bind_text(s->gap, 1, s->epoch, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s->gap, 2, (sqlite3_int64)s->next_seq);
    sqlite3_bind_int64(s->gap, 3, (sqlite3_int64)next_seq);
    finish(s, s->gap);
    fprintf(stderr, "sqlite_sink: records %" PRIu64 " to %" PRIu64 " of ring %s never came\n", s->next_seq, next_seq - 1, s->epoch);
    s->next_seq = next_seq;
}

static void store(struct sink *s, const aqd_record *rec, const void *payload)
{
    begin(s);
    if (rec->seq > s->next_seq) {
        note_gap(s, rec->seq);
    }
    sqlite3_bind_text(s->insert, 1, s->epoch, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s->insert, 2, (sqlite3_int64)rec->seq);
    sqlite3_bind_int(s->insert, 3, rec->type_tag);
    sqlite3_bind_int64(s->insert, 4, (sqlite3_int64)rec->timestamp_ns);
    sqlite3_bind_blob(s->insert, 5, payload, (int)rec->len, SQLITE_STATIC); /* max_payload is at most 2^29 bytes or so; SQLite's limit is 10^9 */
    finish(s, s->insert);
    s->next_seq = rec->seq + 1;
}

/* At the start, and when there is another ring: goes on where the database stands, which for a ring
 * that it does not know is 0. */
static void enter_ring(struct sink *s)
{
    uint64_t epoch = aqd_get_info(s->c)->epoch;
    snprintf(s->epoch, sizeof s->epoch, "%016" PRIx64, epoch);
    s->next_seq = 0;
    sqlite3_bind_text(s->stored, 1, s->epoch, -1, SQLITE_STATIC);
    int found = sqlite3_step(s->stored);
    must(s, found);
    if (found == SQLITE_ROW) {
        s->next_seq = (uint64_t)sqlite3_column_int64(s->stored, 0);
        aqd_status status = aqd_seek(s->c, epoch, s->next_seq);
        /* AQD_ERR_GONE: somebody else released records; the first that comes shows how many, and
         * store() notes them. */
        if (status != AQD_OK && status != AQD_AHEAD && status != AQD_ERR_GONE) {
            die("seek to %s/%" PRIu64 ": %s", s->epoch, s->next_seq, aqd_strerror(status));
        }
    }
    must(s, sqlite3_reset(s->stored));
    printf("ring %s from %" PRIu64 "\n", s->epoch, s->next_seq);
    fflush(stdout);
}

/* A buffer for every record of the present ring. */
static void *grow(struct sink *s, void *buf, size_t *cap)
{
    if (buf && aqd_get_info(s->c)->max_payload <= *cap) {
        return buf;
    }
    *cap = aqd_get_info(s->c)->max_payload;
    buf = realloc(buf, *cap + 1);
    if (!buf) {
        die("no memory for a payload of %zu bytes", *cap);
    }
    return buf;
}

static void run(struct sink *s)
{
    size_t cap = 0;
    void *buf = grow(s, NULL, &cap);
    for (;;) {
        aqd_record rec;
        aqd_status status = AQD_OK;
        for (unsigned n = 0; n < BATCH_MAX && (status = aqd_next(s->c, buf, cap, &rec)) == AQD_OK; n++) {
            store(s, &rec, buf);
        }
        commit(s); /* before everything else: what is read of the old ring must be in the database before the new one begins */
        switch (status) {
        case AQD_OK: case AQD_EMPTY: break;
        case AQD_EPOCH_CHANGED:
            enter_ring(s);
            buf = grow(s, buf, &cap);
            break;
        case AQD_ERR_HEADER: case AQD_ERR_PAYLOAD: case AQD_ERR_GAP: break; /* the next number shows what is missing */
        default: die("%s", aqd_strerror(status));
        }
        status = aqd_wait(s->c, status == AQD_EMPTY ? -1 : 0);
        if (status == AQD_INTERRUPTED) {
            free(buf);
            return;
        }
        if (status == AQD_ERR_SYSTEM) {
            die("wait: %s", aqd_strerror(status));
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s DATABASE SOCKET RING SUBSCRIPTION\n", argv[0]);
        return 2;
    }
    struct sink s = {0};
    if (sqlite3_open(argv[1], &s.db) != SQLITE_OK) {
        die("%s: %s", argv[1], s.db ? sqlite3_errmsg(s.db) : "no memory");
    }
    sqlite3_busy_timeout(s.db, 10000);
    /* FULL: a commit is on the disk when it returns. */
    execute(&s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" SCHEMA);
    s.insert = prepare(&s, "INSERT INTO records(epoch, seq, type, timestamp_ns, payload) VALUES(?, ?, ?, ?, ?)");
    s.advance = prepare(&s, "INSERT INTO positions VALUES(?1, ?2) ON CONFLICT(epoch) DO UPDATE SET next_seq = ?2");
    s.gap = prepare(&s, "INSERT INTO gaps VALUES(?, ?, ?)");
    s.stored = prepare(&s, "SELECT next_seq FROM positions WHERE epoch = ?");

    aqd_options options = {.size = sizeof options, .path = argv[2], .ring = argv[3], .subscription = argv[4], .reconnect_ms = -1};
    aqd_status status = aqd_open_with(&options, &s.c);
    if (status != AQD_OK) {
        die("%s: %s: %s", argv[2], aqd_strerror(status), aqd_message(s.c));
    }
    interruptible = s.c;
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    enter_ring(&s);
    run(&s);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    aqd_close(s.c);
    sqlite3_finalize(s.insert);
    sqlite3_finalize(s.advance);
    sqlite3_finalize(s.gap);
    sqlite3_finalize(s.stored);
    return sqlite3_close(s.db) == SQLITE_OK ? 0 : 1;
}
