/* Opening without blocking, and waiting for a subscription that another reader holds. */
#define _GNU_SOURCE 1
#include <time.h>

#include "fake_listener.h"

static aqd_options nonblocking(const char *path)
{
    return (aqd_options){.size = sizeof(aqd_options), .path = path, .nonblocking = 1, .backoff_min_ms = 1, .backoff_max_ms = 10};
}

static void publish(struct fake *f, const char *text)
{
    writer_data(&f->w, 0, text, (uint32_t)strlen(text));
    writer_publish(&f->w);
}

static aqd_status next(aqd_client *c)
{
    char buf[1024];
    aqd_record rec;
    return aqd_next(c, buf, sizeof buf, &rec);
}

/* What a program's event loop does until there is something to say. */
static aqd_status loop(aqd_client *c)
{
    aqd_status status;
    for (int i = 0; i < 10000 && (status = next(c)) == AQD_EMPTY; i++) {
        if (aqd_arm(c, NULL) == AQD_EMPTY) {
            struct pollfd on = {.fd = aqd_fd(c), .events = POLLIN};
            poll(&on, 1, 10000);
        }
    }
    return status;
}

static void it_returns_before_the_answer_and_reads_after_it(void)
{
    struct fake f;
    fake_start(&f);
    aqd_client *c;
    const aqd_options o = nonblocking(f.path);
    CHECK_EQ(aqd_open_with(&o, &c), AQD_OK); /* nobody accepts yet */
    CHECK(aqd_fd(c) >= 0 && !aqd_is_attached(c));
    CHECK(aqd_max_payload(c) == 0 && aqd_epoch(c) == 0 && aqd_ring_name(c)[0] == '\0');
    aqd_lag lag;
    aqd_record rec;
    const void *payload;
    CHECK_EQ(next(c), AQD_EMPTY);
    CHECK(aqd_peek(c, &rec) == AQD_EMPTY && aqd_skip(c, &rec) == AQD_EMPTY && aqd_view(c, &payload, &rec) == AQD_EMPTY);
    CHECK(aqd_release(c) == AQD_OK && aqd_seek(c, 1, 1) == AQD_EMPTY && aqd_skip_to_latest(c) == AQD_EMPTY);
    CHECK(aqd_measure_lag(c, &lag) == AQD_EMPTY && lag.records == 0 && aqd_get_stats(c)->lost == 0);
    CHECK_EQ(aqd_wait(c, 5), AQD_EMPTY);
    fake_answer(&f);
    publish(&f, "one");
    CHECK_EQ(loop(c), AQD_EPOCH_CHANGED);
    fake_join(&f);
    const aqd_change *change = aqd_get_change(c);
    CHECK(change->old_epoch == 0 && change->new_epoch == f.epoch && change->missed == 0 && change->old_end == AQD_OK);
    CHECK(aqd_is_attached(c) && aqd_max_payload(c) > 0 && aqd_message(c)[0] == '\0');
    CHECK(aqd_get_totals(c)->attachments == 1 && aqd_get_totals(c)->attempts == 0);
    CHECK_EQ(next(c), AQD_OK);
    CHECK_EQ(next(c), AQD_EMPTY);
    fake_hang_up(&f);
    CHECK_EQ(loop(c), AQD_LOST);
    aqd_close(c);
    fake_free(&f);
}

static void nobody_listening_is_known_at_once(void)
{
    aqd_client *c;
    const aqd_options o = nonblocking("/tmp/aqueduct-test-nowhere");
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_SYSTEM);
    CHECK_EQ(aqd_errno(c), ENOENT);
    CHECK_EQ(aqd_fd(c), -1);
    aqd_close(c);
}

static void a_refusal_is_what_the_reading_calls_answer(void)
{
    struct fake f;
    fake_start(&f);
    f.welcome.status = AQD_WELCOME_NO_SUCH_RING;
    strcpy((char *)f.welcome.message, "no such ring");
    fake_answer(&f);
    aqd_client *c;
    const aqd_options o = nonblocking(f.path);
    aqd_status status = aqd_open_with(&o, &c); /* already, if the answer was faster */
    if (status == AQD_OK) {
        CHECK_EQ(loop(c), AQD_ERR_REFUSED);
        CHECK_EQ(next(c), AQD_ERR_REFUSED);
        CHECK_EQ(aqd_wait(c, -1), AQD_OK); /* it does not sleep forever at an end */
    } else {
        CHECK_EQ(status, AQD_ERR_REFUSED);
    }
    CHECK_EQ(aqd_refusal(c), AQD_WELCOME_NO_SUCH_RING);
    CHECK(strcmp(aqd_message(c), "no such ring") == 0);
    fake_join(&f);
    aqd_close(c);
    fake_free(&f);
}

static void a_silent_listener_is_given_up_after_the_timeout(void)
{
    struct fake f;
    fake_start(&f);
    f.silent = true;
    fake_answer(&f);
    aqd_client *c;
    aqd_options o = nonblocking(f.path);
    o.timeout_ms = 30;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_OK);
    CHECK_EQ(loop(c), AQD_ERR_TIMEOUT);
    fake_join(&f);
    aqd_close(c);
    fake_free(&f);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void the_shortest_timeout_is_a_millisecond(void)
{
    struct fake f;
    fake_start(&f);
    f.silent = true;
    fake_answer(&f);
    aqd_client *c;
    const aqd_options o = {.size = sizeof o, .path = f.path, .timeout_ms = 1};
    int64_t start_ms = now_ms();
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_TIMEOUT);
    CHECK(now_ms() - start_ms < 4000); /* not the default */
    fake_join(&f);
    aqd_close(c);
    fake_free(&f);
}

static void a_full_backlog_is_waited_for_as_long_as_an_answer(void)
{
    struct fake f;
    fake_start(&f); /* a backlog of 1 */
    int in_front[2];
    for (int i = 0; i < 2; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        strcpy(address.sun_path, f.path);
        in_front[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        CHECK_EQ(connect(in_front[i], (struct sockaddr *)&address, sizeof address), 0);
    }
    aqd_client *c;
    aqd_options o = nonblocking(f.path);
    CHECK_EQ(aqd_open_with(&o, &c), AQD_OK);
    CHECK_EQ(aqd_wait(c, 20), AQD_EMPTY);
    for (int i = 0; i < 2; i++) {
        close(accept4(f.listening, NULL, NULL, SOCK_CLOEXEC));
        close(in_front[i]);
    }
    fake_answer(&f);
    CHECK_EQ(loop(c), AQD_EPOCH_CHANGED);
    fake_join(&f);
    aqd_close(c);
    fake_free(&f);
}

static void a_listener_may_come_later(void)
{
    struct fake f;
    char path[64];
    snprintf(path, sizeof path, "/tmp/aqueduct-test-later-%d", (int)getpid());
    unlink(path);
    aqd_client *c;
    aqd_options o = nonblocking(path);
    o.open_retry_ms = 10000;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_OK);
    CHECK_EQ(aqd_wait(c, 20), AQD_EMPTY);
    CHECK_EQ(aqd_errno(c), ENOENT);
    fake_start_at(&f, path);
    fake_answer(&f);
    CHECK_EQ(loop(c), AQD_EPOCH_CHANGED);
    CHECK_EQ(aqd_errno(c), 0);
    fake_join(&f);
    aqd_close(c);
    fake_free(&f);

    o.open_retry_ms = 30;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_OK);
    CHECK_EQ(loop(c), AQD_ERR_SYSTEM);
    aqd_close(c);
}

/* Refuses as busy twice, then attaches. */
static void *be_busy_twice(void *argument)
{
    struct fake *f = argument;
    for (int i = 0; i < 2; i++) {
        struct fake busy = {.listening = f->listening, .welcome = f->welcome, .welcome_len = f->welcome_len};
        busy.welcome.status = AQD_WELCOME_BUSY;
        fake_serve(&busy);
    }
    return fake_serve(f);
}

static aqd_status open_while_busy(aqd_options o, aqd_client **c)
{
    struct fake f;
    fake_start(&f);
    fake_answer_by(&f, be_busy_twice);
    o.path = f.path;
    aqd_status status = aqd_open_with(&o, c);
    if (o.nonblocking && status == AQD_OK) {
        status = loop(*c);
    }
    if (status == AQD_ERR_REFUSED) {
        CHECK_EQ(aqd_refusal(*c), AQD_WELCOME_BUSY);
        shutdown(f.listening, SHUT_RDWR); /* ends the accept of the others */
    }
    fake_join(&f);
    fake_free(&f);
    return status;
}

static void a_standby_waits_for_a_busy_subscription(void)
{
    aqd_client *c;
    aqd_options o = {.size = sizeof o, .open_retry_ms = 10000, .backoff_min_ms = 1, .backoff_max_ms = 10};
    CHECK_EQ(open_while_busy(o, &c), AQD_ERR_REFUSED);
    aqd_close(c);
    o.standby = 1;
    CHECK_EQ(open_while_busy(o, &c), AQD_OK);
    CHECK(aqd_is_attached(c));
    aqd_close(c);
    o.nonblocking = 1;
    CHECK_EQ(open_while_busy(o, &c), AQD_EPOCH_CHANGED);
    CHECK(aqd_is_attached(c) && aqd_refusal(c) == 0);
    aqd_close(c);
    o.standby = 0;
    CHECK_EQ(open_while_busy(o, &c), AQD_ERR_REFUSED);
    aqd_close(c);
}

static void it_may_be_closed_and_interrupted_before_it_is_attached(void)
{
    struct fake f;
    fake_start(&f);
    aqd_client *c;
    const aqd_options o = nonblocking(f.path);
    CHECK_EQ(aqd_open_with(&o, &c), AQD_OK);
    aqd_interrupt(c);
    CHECK_EQ(aqd_wait(c, -1), AQD_INTERRUPTED);
    CHECK_EQ(aqd_wait(c, 1), AQD_EMPTY);
    aqd_close(c);
    close(f.listening);
    unlink(f.path);
}

int main(void)
{
    RUN(it_returns_before_the_answer_and_reads_after_it);
    RUN(nobody_listening_is_known_at_once);
    RUN(a_refusal_is_what_the_reading_calls_answer);
    RUN(a_silent_listener_is_given_up_after_the_timeout);
    RUN(the_shortest_timeout_is_a_millisecond);
    RUN(a_full_backlog_is_waited_for_as_long_as_an_answer);
    RUN(a_listener_may_come_later);
    RUN(a_standby_waits_for_a_busy_subscription);
    RUN(it_may_be_closed_and_interrupted_before_it_is_attached);
    return finish_tests();
}
