/* A client whose listener ends and comes back: another ring, the same ring, nobody, one that
 * refuses. */
#define _GNU_SOURCE 1
#include <time.h>

#include "fake_listener.h"

static aqd_client *attach(struct fake *f, aqd_options o)
{
    fake_start(f);
    f->n_fds = o.observe ? 1 : 2;
    fake_answer(f);
    o.size = sizeof o;
    o.path = f->path;
    o.backoff_min_ms = 1;
    o.backoff_max_ms = 10;
    aqd_client *c = NULL;
    if (aqd_open_with(&o, &c) != AQD_OK) {
        printf("  cannot attach: %s\n", aqd_message(c));
        abort();
    }
    fake_join(f);
    return c;
}

static void publish(struct fake *f, const char *text)
{
    writer_data(&f->w, 0, text, (uint32_t)strlen(text));
    writer_publish(&f->w);
}

/* The next answer other than AQD_EMPTY, waiting for it. */
static aqd_status await(aqd_client *c, aqd_record *rec)
{
    char buf[1024];
    aqd_status status;
    while ((status = aqd_next(c, buf, sizeof buf, rec)) == AQD_EMPTY) {
        aqd_release(c);
        if (aqd_wait(c, -1) == AQD_ERR_SYSTEM) {
            abort();
        }
    }
    return status;
}

static void expect(aqd_client *c, uint64_t seq)
{
    aqd_record rec = {0};
    CHECK_EQ(await(c, &rec), AQD_OK);
    CHECK_EQ(rec.seq, seq);
}

/* A second listener at the first one's path, with another ring. */
static void restart(struct fake *second, const struct fake *first, uint32_t start)
{
    fake_start_at(second, first->path);
    second->n_fds = first->n_fds;
    second->epoch = first->epoch + 1;
    second->start = start;
    fake_answer(second);
}

static void a_restarted_listener_is_found_and_the_change_told_once(void)
{
    for (int32_t observe = 0; observe < 2; observe++) {
        struct fake f, g;
        aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1, .observe = observe, .ring = "demo", .subscription = "tail"});
        publish(&f, "one");
        publish(&f, "two");
        expect(c, 0);
        int fd = aqd_fd(c);
        fake_die(&f);
        restart(&g, &f, 0);
        expect(c, 1); /* what was published comes first */
        aqd_record rec = {.seq = 99};
        CHECK_EQ(await(c, &rec), AQD_EPOCH_CHANGED);
        CHECK_EQ(rec.seq, 99);
        fake_join(&g);
        const aqd_change *change = aqd_get_change(c);
        CHECK(change->old_epoch == f.epoch && change->new_epoch == g.epoch && change->old_next_seq == 2);
        CHECK_EQ(change->old_end, AQD_LOST);
        CHECK_EQ(change->missed, 0);
        CHECK(change->down_ms < 600000);
        CHECK_EQ(aqd_get_info(c)->epoch, g.epoch);
        CHECK(aqd_is_attached(c));
        CHECK_EQ(aqd_fd(c), fd);
        CHECK(memcmp(g.hello + 16, "demo", 5) == 0 && memcmp(g.hello + 80, observe ? "" : "tail", 5 - 4 * (size_t)observe) == 0);
        CHECK_EQ(aqd_get32(g.hello + 12), observe ? 2 : 1);
        publish(&g, "new");
        expect(c, 0);
        CHECK(aqd_get_totals(c)->attachments == 2 && aqd_get_totals(c)->records == 3);
        CHECK(aqd_message(c)[0] == '\0' && aqd_errno(c) == 0);
        aqd_close(c);
        fake_free(&f);
        fake_free(&g);
    }
}

enum { BY_NEXT, BY_VIEW, BY_SKIP, BY_PEEK, BY_BATCH, CALLS };

/* Each call that reads; after a peek the record is skipped. */
static aqd_status read_by(int call, aqd_client *c, aqd_record *rec)
{
    static char buf[1024];
    const void *payload;
    aqd_item items[4];
    size_t n = 99;
    aqd_status status;
    switch (call) {
    case BY_NEXT: return aqd_next(c, buf, sizeof buf, rec);
    case BY_VIEW: return aqd_view(c, &payload, rec);
    case BY_SKIP: return aqd_skip(c, rec);
    case BY_PEEK:
        status = aqd_peek(c, rec);
        return status == AQD_OK ? aqd_skip(c, rec) : status;
    default:
        status = aqd_next_batch(c, buf, sizeof buf, items, 4, &n);
        CHECK_EQ(n, status == AQD_OK);
        *rec = n == 1 ? items[0].record : *rec;
        return status;
    }
}

static aqd_status await_by(int call, aqd_client *c, aqd_record *rec)
{
    aqd_status status;
    while ((status = read_by(call, c, rec)) == AQD_EMPTY) {
        aqd_release(c);
        if (aqd_wait(c, -1) == AQD_ERR_SYSTEM) {
            abort();
        }
    }
    return status;
}

static void every_call_that_reads_goes_over_to_the_next_ring(void)
{
    for (int call = 0; call < CALLS; call++) {
        struct fake f, g;
        aqd_record rec = {.seq = 99};
        aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
        CHECK_EQ(read_by(call, c, &rec), AQD_EMPTY);
        publish(&f, "one");
        CHECK_EQ(await_by(call, c, &rec), AQD_OK);
        fake_die(&f);
        restart(&g, &f, 0);
        CHECK_EQ(await_by(call, c, &rec), AQD_EPOCH_CHANGED);
        fake_join(&g);
        CHECK_EQ(read_by(call, c, &rec), AQD_EMPTY);
        CHECK_EQ(aqd_wait(c, 0), AQD_EMPTY); /* the change is no news any more */
        publish(&g, "new");
        rec.seq = 99;
        CHECK_EQ(await_by(call, c, &rec), AQD_OK);
        CHECK_EQ(rec.seq, 0);
        const aqd_totals *totals = aqd_get_totals(c);
        CHECK_EQ(totals->records + totals->skipped, 2);
        CHECK_EQ(totals->skipped, call == BY_SKIP || call == BY_PEEK ? 2 : 0);
        /* Gone again, and nobody comes: the change is not told once more. */
        fake_die(&g);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(read_by(call, c, &rec), AQD_EMPTY);
            CHECK(aqd_wait(c, 5) != AQD_ERR_SYSTEM);
        }
        aqd_close(c);
        fake_free(&f);
        fake_free(&g);
    }
}

static void every_call_that_reads_tells_the_end_after_the_last_record(void)
{
    for (int call = 0; call < CALLS; call++) {
        for (int closed = 0; closed < 2; closed++) {
            struct fake f;
            aqd_record rec;
            aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = 0});
            publish(&f, "one");
            if (closed) {
                writer_close(&f.w);
            }
            fake_hang_up(&f);
            CHECK_EQ(await_by(call, c, &rec), AQD_OK);
            CHECK_EQ(await_by(call, c, &rec), closed ? AQD_CLOSED : AQD_LOST);
            CHECK_EQ(read_by(call, c, &rec), closed ? AQD_CLOSED : AQD_LOST);
            CHECK_EQ(aqd_get_totals(c)->records + aqd_get_totals(c)->skipped, 1);
            aqd_close(c);
            fake_free(&f);
        }
    }
}

/* It never waits: the calls that find nothing notice the end, dial, and hear the answer. */
static void who_only_reads_goes_over_to_the_next_ring_too(void)
{
    for (int closed = 0; closed < 2; closed++) {
        struct fake f, g;
        aqd_record rec;
        aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
        if (closed) {
            writer_close(&f.w);
        }
        fake_die(&f);
        restart(&g, &f, 0);
        aqd_status status = AQD_EMPTY;
        for (int i = 0; status == AQD_EMPTY && i < 1000000; i++) {
            status = read_by(BY_NEXT, c, &rec);
            if (!aqd_is_attached(c)) {
                nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
            }
        }
        CHECK_EQ(status, AQD_EPOCH_CHANGED);
        fake_join(&g);
        CHECK_EQ(aqd_get_change(c)->old_next_seq, 0); /* it has read nothing */
        aqd_close(c);
        fake_free(&f);
        fake_free(&g);
    }
}

/* A record that is damaged is no reason to leave the listener. */
static void damage_ends_no_connection(void)
{
    struct fake f;
    aqd_record rec;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    uint32_t first = f.w.tail;
    publish(&f, "one");
    publish(&f, "two");
    writer_at(&f.w, first)[32] ^= 1;
    CHECK_EQ(read_by(BY_NEXT, c, &rec), AQD_ERR_PAYLOAD);
    CHECK(aqd_is_attached(c) && aqd_get_totals(c)->attempts == 0);
    expect(c, 1);
    aqd_close(c);
    fake_free(&f);
}

/* A tail that cannot be is the end of the ring only if the connection has ended, too. */
static void a_tail_out_of_range_is_told_while_the_listener_is_there(void)
{
    struct fake f, g;
    aqd_record rec;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    publish(&f, "one");
    uint32_t tail = f.w.tail;
    aqd_put32(f.w.ring + AQD_RING_TAIL, tail + 2 * FAKE_CAPACITY);
    CHECK_EQ(read_by(BY_NEXT, c, &rec), AQD_ERR_TAIL);
    CHECK_EQ(read_by(BY_NEXT, c, &rec), AQD_ERR_TAIL);
    CHECK(aqd_is_attached(c));
    aqd_put32(f.w.ring + AQD_RING_TAIL, tail);
    CHECK_EQ(read_by(BY_NEXT, c, &rec), AQD_OK);
    /* Evicted: it has not been waited for, so nobody has looked at the connection yet. */
    aqd_put32(f.w.ring + AQD_RING_TAIL, tail + 2 * FAKE_CAPACITY);
    fake_die(&f);
    CHECK_EQ(read_by(BY_NEXT, c, &rec), AQD_EMPTY);
    CHECK(!aqd_is_attached(c));
    restart(&g, &f, 0);
    CHECK_EQ(await_by(BY_NEXT, c, &rec), AQD_EPOCH_CHANGED);
    fake_join(&g);
    CHECK_EQ(aqd_get_change(c)->old_end, AQD_ERR_TAIL);
    CHECK_EQ(aqd_get_change(c)->missed, AQD_MISSED_OLD);
    aqd_close(c);
    fake_free(&f);
    fake_free(&g);
}

static void a_closed_ring_is_left_while_its_listener_is_there(void)
{
    struct fake f, g;
    aqd_record rec;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    writer_close(&f.w);
    close(f.listening);
    f.listening = -1;
    unlink(f.path);
    restart(&g, &f, 0);
    CHECK_EQ(await_by(BY_NEXT, c, &rec), AQD_EPOCH_CHANGED);
    fake_join(&g);
    CHECK_EQ(aqd_get_change(c)->old_end, AQD_CLOSED);
    aqd_close(c);
    fake_free(&f);
    fake_free(&g);
}

static void a_closed_ring_is_left_for_the_next_one(void)
{
    struct fake f, g;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    publish(&f, "one");
    writer_close(&f.w);
    fake_die(&f);
    restart(&g, &f, 6); /* three records were released by somebody else */
    expect(c, 0);
    aqd_record rec;
    CHECK_EQ(await(c, &rec), AQD_EPOCH_CHANGED);
    fake_join(&g);
    CHECK_EQ(aqd_get_change(c)->old_end, AQD_CLOSED);
    CHECK_EQ(aqd_get_change(c)->missed, AQD_MISSED_NEW);
    aqd_close(c);
    fake_free(&f);
    fake_free(&g);
}

static bool is_mapped(const void *at)
{
    void *page = (void *)((uintptr_t)at & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1));
    unsigned char resident;
    return mincore(page, 1, &resident) == 0 || errno != ENOMEM;
}

static void a_close_unmaps_the_ring_before_this_one_too(void)
{
    struct fake f, g;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    publish(&f, "one");
    const void *payload = NULL, *other;
    aqd_record rec;
    CHECK_EQ(aqd_view(c, &payload, &rec), AQD_OK);
    fake_die(&f);
    restart(&g, &f, 0);
    while (aqd_view(c, &other, &rec) == AQD_EMPTY) {
        aqd_wait(c, -1);
    }
    fake_join(&g);
    CHECK(is_mapped(payload));
    aqd_close(c);
    CHECK(!is_mapped(payload));
    fake_free(&f);
    fake_free(&g);
}

/* The stop descriptor ends opening, and nothing after it. */
static void a_stop_descriptor_does_not_stop_a_reconnection(void)
{
    struct fake f, g;
    aqd_record rec;
    int stop[2];
    CHECK(pipe(stop) == 0);
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1, .stop_fd = stop[0]});
    CHECK(write(stop[1], "x", 1) == 1);
    fake_die(&f);
    restart(&g, &f, 0);
    CHECK_EQ(await(c, &rec), AQD_EPOCH_CHANGED);
    fake_join(&g);
    aqd_close(c);
    close(stop[0]);
    close(stop[1]);
    fake_free(&f);
    fake_free(&g);
}

static void views_live_until_the_release_even_if_the_ring_is_another_one(void)
{
    struct fake f, g;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    publish(&f, "one");
    const void *payload = NULL, *other;
    aqd_record rec;
    CHECK_EQ(aqd_view(c, &payload, &rec), AQD_OK);
    fake_die(&f);
    restart(&g, &f, 0);
    aqd_status status;
    while ((status = aqd_view(c, &other, &rec)) == AQD_EMPTY) {
        aqd_wait(c, -1);
    }
    CHECK_EQ(status, AQD_EPOCH_CHANGED);
    fake_join(&g);
    CHECK(memcmp(payload, "one", 3) == 0); /* not unmapped */
    aqd_release(c);
    CHECK(!is_mapped(payload)); /* and now it is */
    CHECK_EQ(aqd_get32(g.w.cursor + AQD_CURSOR_CURSOR), 0); /* what was read was not of this ring */
    aqd_close(c);
    fake_free(&f);
    fake_free(&g);
}

static void a_cut_connection_to_the_same_ring_loses_nothing_and_doubles_nothing(void)
{
    for (int32_t observe = 0; observe < 2; observe++) {
        struct fake f;
        aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1, .observe = observe});
        for (int i = 0; i < 5; i++) {
            publish(&f, "x");
        }
        expect(c, 0);
        aqd_release(c);
        expect(c, 1); /* read, not released */
        fake_hang_up(&f);
        fake_answer_again(&f);
        for (uint64_t seq = 2; seq < 5; seq++) {
            expect(c, seq);
        }
        while (aqd_get_totals(c)->attachments < 2) {
            aqd_record rec;
            char buf[8];
            CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
            aqd_release(c);
            aqd_wait(c, 10);
        }
        fake_join(&f);
        publish(&f, "y");
        expect(c, 5);
        CHECK_EQ(aqd_get_change(c)->new_epoch, 0);
        CHECK_EQ(aqd_get_stats(c)->lost, 0);
        aqd_close(c);
        fake_free(&f);
    }
}

static void a_reader_that_is_ahead_of_its_cursor_goes_on_where_it_was(void)
{
    struct fake f;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    for (int i = 0; i < 5; i++) {
        publish(&f, "x");
    }
    expect(c, 0);
    aqd_release(c);
    for (uint64_t seq = 1; seq < 5; seq++) {
        expect(c, seq);
    }
    uint32_t released = aqd_get32(f.w.cursor + AQD_CURSOR_CURSOR);
    fake_hang_up(&f);
    fake_answer_again(&f);
    char buf[8];
    aqd_record rec;
    while (aqd_get_totals(c)->attachments < 2) { /* nothing is released: the cursor stays */
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
        aqd_wait(c, 10);
    }
    fake_join(&f);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_CURSOR), released);
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
    publish(&f, "y");
    expect(c, 5);
    f.w.seq = 9; /* it knows what must come */
    publish(&f, "z");
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_ERR_GAP);
    aqd_close(c);
    fake_free(&f);
}

static void a_reader_whose_cursor_somebody_else_moved_on_is_told_the_gap(void)
{
    struct fake f;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    for (int i = 0; i < 5; i++) {
        publish(&f, "x");
    }
    expect(c, 0);
    expect(c, 1);
    fake_hang_up(&f);
    aqd_put32(f.w.cursor + AQD_CURSOR_CURSOR, f.w.tail);
    fake_answer_again(&f);
    for (uint64_t seq = 2; seq < 5; seq++) { /* adopted before: it reads them too */
        expect(c, seq);
    }
    char buf[8];
    aqd_record rec;
    while (aqd_get_totals(c)->attachments < 2) {
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
        aqd_wait(c, 10);
    }
    fake_join(&f);
    publish(&f, "y");
    expect(c, 5);
    aqd_close(c);
    fake_free(&f);
}

/* Found in the new ring: its first record, or a later one because somebody had the first. */
static void what_the_new_ring_began_with_is_told(void)
{
    for (uint64_t first = 0; first < 2; first++) {
        for (int32_t observe = 0; observe < 2; observe++) {
            struct fake f, g;
            aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1, .observe = observe});
            fake_die(&f);
            restart(&g, &f, 0);
            g.w.seq = first;
            publish(&g, "x"); /* the client takes no step of its own */
            aqd_record rec;
            CHECK_EQ(await(c, &rec), AQD_EPOCH_CHANGED);
            fake_join(&g);
            CHECK_EQ(aqd_get_change(c)->missed, first == 0 ? 0 : AQD_MISSED_NEW);
            expect(c, first);
            aqd_close(c);
            fake_free(&f);
            fake_free(&g);
        }
    }
}

/* It is news until a call that reads has told it, however often one waits. */
static void a_change_that_was_not_told_yet_ends_every_wait(void)
{
    struct fake f, g;
    aqd_record rec;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    fake_die(&f);
    while (aqd_is_attached(c)) {
        CHECK_EQ(aqd_wait(c, -1), AQD_OK);
        CHECK_EQ(read_by(BY_NEXT, c, &rec), AQD_EMPTY);
    }
    /* Only now: a call that reads would tell of a listener that is there already. */
    restart(&g, &f, 0);
    while (aqd_get_totals(c)->attachments < 2) {
        aqd_wait(c, 10);
    }
    fake_join(&g);
    CHECK_EQ(aqd_wait(c, 0), AQD_OK);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(read_by(BY_NEXT, c, &rec), AQD_EPOCH_CHANGED);
    CHECK_EQ(aqd_wait(c, 0), AQD_EMPTY);
    aqd_close(c);
    fake_free(&f);
    fake_free(&g);
}

/* Only the first attachment begins at the latest record: the next one goes on. */
static void a_start_at_the_latest_record_is_asked_for_once(void)
{
    for (int32_t observe = 0; observe < 2; observe++) {
        struct fake f, g;
        fake_start(&f);
        f.n_fds = observe ? 1 : 2;
        fake_answer(&f);
        publish(&f, "old");
        const aqd_options o = {.size = sizeof o, .path = f.path, .reconnect_ms = -1, .backoff_min_ms = 1, .backoff_max_ms = 10,
                               .observe = observe, .start = AQD_START_LATEST};
        aqd_client *c;
        CHECK_EQ(aqd_open_with(&o, &c), AQD_OK);
        fake_join(&f);
        CHECK_EQ(aqd_get32(f.hello + 12), observe ? AQD_HELLO_OBSERVE : AQD_HELLO_ATTACH_LATEST);
        publish(&f, "new");
        expect(c, observe ? 1 : 0); /* for a reader the listener moves the cursor */
        fake_die(&f);
        restart(&g, &f, 0);
        publish(&g, "first");
        aqd_record rec;
        aqd_status status;
        while ((status = await(c, &rec)) == AQD_OK) {
        }
        CHECK_EQ(status, AQD_EPOCH_CHANGED);
        fake_join(&g);
        CHECK_EQ(aqd_get32(g.hello + 12), observe ? AQD_HELLO_OBSERVE : AQD_HELLO_ATTACH);
        expect(c, 0);
        aqd_close(c);
        fake_free(&f);
        fake_free(&g);
    }
}

/* Its cursor is not one: what is unread of the old ring can be read still. */
static void a_ring_with_a_bad_cursor_does_not_replace_the_old_one(void)
{
    struct fake f, g, h;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    publish(&f, "one");
    fake_die(&f);
    restart(&g, &f, 0);
    g.w.cursor[3] ^= 1; /* the client takes no step of its own */
    expect(c, 0);
    char buf[8];
    aqd_record rec;
    while (aqd_message(c)[0] == 0 || aqd_errno(c) != 0) {
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
        aqd_release(c);
        aqd_wait(c, 10);
    }
    fake_join(&g);
    CHECK_EQ(aqd_epoch(c), f.epoch);
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
    fake_die(&g);
    restart(&h, &f, 0);
    CHECK_EQ(await(c, &rec), AQD_EPOCH_CHANGED);
    fake_join(&h);
    CHECK_EQ(aqd_get_change(c)->old_epoch, f.epoch);
    CHECK_EQ(aqd_get_change(c)->old_next_seq, 1);
    aqd_close(c);
    fake_free(&f);
    fake_free(&g);
    fake_free(&h);
}

static void whoever_does_not_come_back_is_given_up(void)
{
    struct fake f;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = 30});
    publish(&f, "one");
    fake_die(&f);
    expect(c, 0);
    aqd_record rec;
    CHECK_EQ(await(c, &rec), AQD_LOST);
    CHECK_EQ(await(c, &rec), AQD_LOST);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK(!aqd_is_attached(c));
    CHECK(aqd_get_totals(c)->attempts >= 1 && aqd_get_totals(c)->attempts < 100000);
    CHECK(strcmp(aqd_message(c), "connect: No such file or directory") == 0);
    CHECK_EQ(aqd_errno(c), ENOENT);
    aqd_close(c);
    fake_free(&f);
}

static void a_wait_while_nobody_listens_can_be_interrupted_and_closed(void)
{
    struct fake f;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    fake_die(&f);
    char buf[8];
    aqd_record rec;
    while (aqd_is_attached(c)) {
        CHECK_EQ(aqd_wait(c, 10000), AQD_OK);
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
    }
    aqd_interrupt(c);
    CHECK_EQ(aqd_wait(c, -1), AQD_INTERRUPTED);
    CHECK_EQ(aqd_wait(c, 20), AQD_EMPTY);
    int sleep_ms = 0;
    CHECK_EQ(aqd_arm(c, &sleep_ms), AQD_EMPTY);
    CHECK(sleep_ms >= 1 && sleep_ms <= 500);
    aqd_close(c);
    fake_free(&f);
}

/* Until an attempt has met nobody, which is told at length and with an errno. */
static void await_failure(aqd_client *c)
{
    char buf[8];
    aqd_record rec;
    while (aqd_errno(c) != ENOENT) {
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
        aqd_release(c);
        aqd_wait(c, 10);
    }
}

static void a_refusal_is_tried_again(void)
{
    struct fake f, g, h;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    fake_die(&f);
    await_failure(c);
    fake_start_at(&g, f.path);
    g.welcome.status = AQD_WELCOME_BUSY;
    strcpy((char *)g.welcome.message, "not yet");
    g.n_fds = 0;
    fake_answer(&g);
    char buf[8];
    aqd_record rec;
    while (aqd_refusal(c) == 0) { /* the next attempt is answered by nobody, so it stays */
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
        aqd_wait(c, 10);
    }
    fake_join(&g);
    CHECK_EQ(aqd_refusal(c), AQD_WELCOME_BUSY);
    CHECK(strcmp(aqd_message(c), "not yet") == 0);
    CHECK_EQ(aqd_errno(c), 0);
    fake_die(&g);
    restart(&h, &f, 0);
    CHECK_EQ(await(c, &rec), AQD_EPOCH_CHANGED);
    CHECK_EQ(aqd_refusal(c), 0);
    fake_join(&h);
    aqd_close(c);
    fake_free(&f);
    fake_free(&g);
    fake_free(&h);
}

static void a_silence_is_given_up_and_tried_again(void)
{
    struct fake f, g, h;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1, .timeout_ms = 2000});
    fake_die(&f);
    fake_start_at(&g, f.path);
    g.silent = true;
    fake_answer(&g);
    char buf[8];
    aqd_record rec;
    while (strstr(aqd_message(c), "in time") == NULL) {
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
        aqd_wait(c, 10);
    }
    fake_join(&g);
    fake_die(&g);
    restart(&h, &f, 0);
    while (aqd_next(c, buf, sizeof buf, &rec) != AQD_EPOCH_CHANGED) {
        aqd_wait(c, 10);
    }
    fake_join(&h);
    aqd_close(c);
    fake_free(&f);
    fake_free(&g);
    fake_free(&h);
}

static void a_bad_ring_does_not_replace_the_old_one(void)
{
    struct fake f, g, h;
    aqd_client *c = attach(&f, (aqd_options){.reconnect_ms = -1});
    publish(&f, "one");
    expect(c, 0);
    fake_die(&f);
    await_failure(c);
    fake_start_at(&g, f.path);
    g.ring_seals = 0;
    fake_answer(&g);
    char buf[8];
    aqd_record rec;
    while (strstr(aqd_message(c), "not sealed") == NULL) {
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
        aqd_release(c);
        aqd_wait(c, 10);
    }
    fake_join(&g);
    CHECK_EQ(aqd_errno(c), 0); /* of this attempt, not of those before */
    CHECK_EQ(aqd_get_info(c)->epoch, f.epoch);
    fake_die(&g);
    restart(&h, &f, 0);
    CHECK_EQ(await(c, &rec), AQD_EPOCH_CHANGED);
    fake_join(&h);
    aqd_close(c);
    fake_free(&f);
    fake_free(&g);
    fake_free(&h);
}

int main(void)
{
    RUN(a_restarted_listener_is_found_and_the_change_told_once);
    RUN(every_call_that_reads_goes_over_to_the_next_ring);
    RUN(every_call_that_reads_tells_the_end_after_the_last_record);
    RUN(who_only_reads_goes_over_to_the_next_ring_too);
    RUN(damage_ends_no_connection);
    RUN(a_tail_out_of_range_is_told_while_the_listener_is_there);
    RUN(a_closed_ring_is_left_while_its_listener_is_there);
    RUN(a_closed_ring_is_left_for_the_next_one);
    RUN(views_live_until_the_release_even_if_the_ring_is_another_one);
    RUN(a_close_unmaps_the_ring_before_this_one_too);
    RUN(a_stop_descriptor_does_not_stop_a_reconnection);
    RUN(a_cut_connection_to_the_same_ring_loses_nothing_and_doubles_nothing);
    RUN(a_reader_that_is_ahead_of_its_cursor_goes_on_where_it_was);
    RUN(a_reader_whose_cursor_somebody_else_moved_on_is_told_the_gap);
    RUN(what_the_new_ring_began_with_is_told);
    RUN(a_change_that_was_not_told_yet_ends_every_wait);
    RUN(a_start_at_the_latest_record_is_asked_for_once);
    RUN(a_ring_with_a_bad_cursor_does_not_replace_the_old_one);
    RUN(whoever_does_not_come_back_is_given_up);
    RUN(a_wait_while_nobody_listens_can_be_interrupted_and_closed);
    RUN(a_refusal_is_tried_again);
    RUN(a_silence_is_given_up_and_tried_again);
    RUN(a_bad_ring_does_not_replace_the_old_one);
    return finish_tests();
}
