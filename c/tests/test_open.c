/* Opening with options or descriptors, observing through the client, running out of descriptors,
 * and closing in a forked child. */
#define _GNU_SOURCE 1
#include <sys/resource.h>
#include <sys/wait.h>

#include "fake_listener.h"

static aqd_options options(const struct fake *f)
{
    aqd_options o = {.size = sizeof o, .path = f->path, .ring = "demo", .subscription = "tail"};
    return o;
}

static aqd_client *open_with(struct fake *f, const aqd_options *o)
{
    fake_answer(f);
    aqd_client *c = NULL;
    aqd_status status = aqd_open_with(o, &c);
    fake_join(f);
    if (status != AQD_OK) {
        printf("  cannot open: %s: %s\n", aqd_strerror(status), aqd_message(c));
        abort();
    }
    return c;
}

static void publish(struct fake *f, const char *text)
{
    writer_data(&f->w, 0, text, (uint32_t)strlen(text));
    writer_publish(&f->w);
}

static void every_start_has_its_kind_of_hello(void)
{
    for (aqd_start start = AQD_START_HERE; start <= AQD_START_LATEST; start++) {
        struct fake f;
        fake_start(&f);
        aqd_options o = options(&f);
        o.start = start;
        aqd_client *c = open_with(&f, &o);
        CHECK_EQ(aqd_get32(f.hello + 12), start == AQD_START_HERE ? 1 : start == AQD_START_OLDEST ? 3 : 4);
        aqd_close(c);
        fake_free(&f);
    }
}

static void expect_refused(const aqd_options *o, const char *message)
{
    aqd_client *c = NULL;
    CHECK_EQ(aqd_open_with(o, &c), AQD_ERR_ARGUMENT);
    if (strcmp(aqd_message(c), message) != 0) {
        printf("  %s\n", aqd_message(c));
        CHECK(false);
    }
    aqd_close(c);
}

static void options_that_make_no_sense_are_refused_by_name_and_value(void)
{
    aqd_client *c = NULL;
    aqd_options good = {.size = sizeof good, .path = "/tmp/aqueduct-test-nowhere", .timeout_ms = 10};
    CHECK_EQ(aqd_open_with(&good, NULL), AQD_ERR_ARGUMENT);
    expect_refused(NULL, "options is NULL");
    struct {
        aqd_options o;
        unsigned char more[8];
    } larger = {.o = good};
    larger.o.size = sizeof larger;
    CHECK_EQ(aqd_open_with(&larger.o, &c), AQD_ERR_SYSTEM); /* a newer program that uses nothing new: nobody listens */
    aqd_close(c);
    larger.more[7] = 1;
    char expected[160];
    snprintf(expected, sizeof expected, "options.size is %zu and byte %zu is set; libaqueduct " AQD_VERSION " knows %zu bytes", sizeof larger,
             sizeof good + 7, sizeof good);
    expect_refused(&larger.o, expected);
    aqd_options bad = good;
    bad.size = 0;
    snprintf(expected, sizeof expected, "options.size is 0; set it to sizeof(aqd_options), %zu here", sizeof good);
    expect_refused(&bad, expected);
    bad = good;
    bad.start = (aqd_start)3;
    expect_refused(&bad, "start is 3; it is one of AQD_START_HERE, _OLDEST and _LATEST");
    bad = good;
    bad.timeout_ms = -2;
    expect_refused(&bad, "timeout_ms is -2; the least is -1");
    bad = good;
    bad.reconnect_ms = -2;
    expect_refused(&bad, "reconnect_ms is -2; the least is -1");
    bad = good;
    bad.backoff_min_ms = -3;
    expect_refused(&bad, "backoff_min_ms is -3; the least is 0");
    bad = good;
    bad.backoff_max_ms = -1;
    expect_refused(&bad, "backoff_max_ms is -1; the least is 0");
    bad = good;
    bad.open_retry_ms = -5;
    expect_refused(&bad, "open_retry_ms is -5; the least is -1");
    bad = good;
    bad.stop_fd = -2;
    expect_refused(&bad, "stop_fd is -2; the least is -1");
    bad = good;
    bad.path = NULL;
    expect_refused(&bad, "path is NULL");
}

static void an_observer_reads_without_a_cursor(void)
{
    struct fake f;
    fake_start(&f);
    f.n_fds = 1;
    f.welcome.cursor_bytes = 0;
    aqd_options o = options(&f);
    o.observe = 1;
    aqd_client *c = open_with(&f, &o);
    CHECK_EQ(aqd_get32(f.hello + 12), 2);
    CHECK_EQ(f.hello[80], 0);
    char buf[64];
    aqd_record rec;
    const void *payload;
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
    publish(&f, "one");
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(aqd_peek(c, &rec), AQD_OK);
    CHECK_EQ(aqd_view(c, &payload, &rec), AQD_ERR_MODE);
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_OK);
    CHECK(rec.len == 3 && memcmp(buf, "one", 3) == 0);
    CHECK_EQ(aqd_release(c), AQD_OK);
    publish(&f, "two");
    publish(&f, "three");
    CHECK_EQ(aqd_skip(c, &rec), AQD_OK);
    aqd_item items[4];
    size_t n;
    CHECK_EQ(aqd_next_batch(c, buf, sizeof buf, items, 4, &n), AQD_OK);
    CHECK(n == 1 && items[0].record.seq == 2);
    CHECK_EQ(aqd_seek(c, aqd_get_info(c)->epoch, 0), AQD_OK);
    aqd_lag lag;
    CHECK_EQ(aqd_measure_lag(c, &lag), AQD_OK);
    CHECK(lag.records == 3 || lag.records == 0); /* at 0 nothing is read again yet */
    CHECK_EQ(aqd_skip_to_latest(c), AQD_OK);
    CHECK_EQ(aqd_get_totals(c)->records, 2);
    CHECK_EQ(aqd_get_totals(c)->skipped, 1);
    fake_hang_up(&f);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_LOST);
    CHECK(!aqd_is_attached(c));
    aqd_close(c);
    fake_free(&f);
}

static void an_observer_may_start_at_the_latest_record(void)
{
    struct fake f;
    fake_start(&f);
    f.n_fds = 1;
    aqd_options o = options(&f);
    o.observe = 1;
    o.start = AQD_START_LATEST;
    aqd_client *c = open_with(&f, &o);
    aqd_close(c);
    fake_free(&f);
}

static void an_observer_that_gets_two_descriptors_refuses_them(void)
{
    struct fake f;
    fake_start(&f);
    aqd_options o = options(&f);
    o.observe = 1;
    fake_answer(&f);
    aqd_client *c;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_PROTOCOL);
    fake_join(&f);
    aqd_close(c);
    fake_free(&f);
}

static void descriptors_that_came_another_way_are_attached_to(void)
{
    struct fake f;
    fake_start(&f);
    fake_answer(&f); /* for the segments; the thread meets the connection below */
    aqd_client *c, *other;
    CHECK_EQ(aqd_open(f.path, "", "", 5000, &other), AQD_OK);
    fake_join(&f);
    CHECK_EQ(aqd_open_fds(-1, f.ring_fd, f.cursor_fd, &c), AQD_OK);
    publish(&f, "one");
    char buf[64];
    aqd_record rec;
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_OK);
    CHECK_EQ(aqd_release(c), AQD_OK);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_CURSOR), 2);
    CHECK_EQ(aqd_wait(c, 5), AQD_EMPTY);
    aqd_interrupt(c);
    CHECK_EQ(aqd_wait(c, -1), AQD_INTERRUPTED);
    CHECK(aqd_is_attached(c));
    aqd_close(c);
    CHECK_EQ(aqd_open_fds(-1, f.ring_fd, -1, &c), AQD_OK);
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_OK);
    aqd_close(c);
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    CHECK_EQ(aqd_open_fds(pair[0], f.ring_fd, f.cursor_fd, &c), AQD_OK);
    close(pair[1]);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_LOST);
    aqd_close(c);
    CHECK_EQ(fcntl(pair[0], F_GETFD), -1);
    CHECK_EQ(aqd_open_fds(-1, -1, f.cursor_fd, &c), AQD_ERR_ARGUMENT);
    aqd_close(c);
    CHECK_EQ(aqd_open_fds(-1, f.ring_fd, f.ring_fd, &c), AQD_ERR_CURSOR);
    aqd_close(c);
    CHECK_EQ(aqd_open_fds(-1, f.cursor_fd, -1, &c), AQD_ERR_MAGIC);
    aqd_close(c);
    CHECK_EQ(aqd_open_fds(-1, 9999, -1, &c), AQD_ERR_SYSTEM);
    aqd_close(c);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(aqd_open_fds(-1, file, -1, &c), AQD_ERR_NOT_SEALED);
    aqd_close(c);
    close(file);
    aqd_close(other);
    fake_free(&f);
}

/* However few descriptors there are left, the answer is an error that says so, and nothing is left
 * behind. */
static void running_out_of_descriptors_is_said(void)
{
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    int enough = 0, said = 0;
    for (int spare = 0; spare < 12 && !enough; spare++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            struct fake f;
            fake_start(&f);
            fake_answer(&f);
            int first = dup(0);
            close(first);
            struct rlimit few = {.rlim_cur = (rlim_t)(first + spare), .rlim_max = before.rlim_max};
            setrlimit(RLIMIT_NOFILE, &few);
            aqd_client *c;
            aqd_status status = aqd_open(f.path, "", "", 500, &c);
            bool named = strstr(aqd_message(c), "Too many open files") != NULL && aqd_errno(c) == EMFILE;
            /* The fake may be what ran out, in its accept or with its answer: it says nothing then,
             * or hangs up. */
            bool fake_ran_out = status == AQD_ERR_TIMEOUT || status == AQD_ERR_HANGUP;
            int code = status == AQD_OK ? 1 : status == AQD_ERR_SYSTEM && named ? 2 : fake_ran_out ? 3 : 4;
            if (code == 4) {
                printf("  %d descriptors to spare: %s\n", spare, aqd_message(c));
            }
            aqd_close(c);
            unlink(f.path);
            _exit(code);
        }
        int how;
        waitpid(child, &how, 0);
        CHECK(WIFEXITED(how));
        int code = WIFEXITED(how) ? WEXITSTATUS(how) : 0;
        CHECK(code >= 1 && code <= 3);
        said += code == 2;
        enough = code == 1;
    }
    CHECK(enough && said >= 3);
}

static bool is_open(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void a_childs_close_leaves_the_connection_and_the_parents_ends_it(void)
{
    struct fake f;
    fake_start(&f);
    aqd_options o = options(&f);
    aqd_client *c = open_with(&f, &o);
    int go[2];
    CHECK_EQ(pipe(go), 0);
    fflush(stdout);
    pid_t closes = fork();
    if (closes == 0) {
        aqd_close(c);
        _exit(0);
    }
    pid_t holds = fork();
    if (holds == 0) {
        char byte;
        close(go[1]);
        _exit((int)read(go[0], &byte, 1)); /* until the parent is through */
    }
    int how;
    waitpid(closes, &how, 0);
    CHECK_EQ(how, 0);
    CHECK(is_open(f.connection));
    /* Still in the parent's set: a wake-up arrives. */
    publish(&f, "one");
    fake_wake(&f);
    struct pollfd on = {.fd = aqd_fd(c), .events = POLLIN};
    CHECK_EQ(poll(&on, 1, 10000), 1);
    char buf[8];
    aqd_record rec;
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_OK);
    aqd_close(c);
    on = (struct pollfd){.fd = f.connection, .events = POLLIN};
    CHECK_EQ(poll(&on, 1, 10000), 1); /* although the other child holds a copy */
    CHECK_EQ(recv(f.connection, buf, 1, MSG_DONTWAIT), 0);
    close(go[1]);
    close(go[0]);
    waitpid(holds, &how, 0);
    fake_free(&f);
}

int main(void)
{
    RUN(every_start_has_its_kind_of_hello);
    RUN(options_that_make_no_sense_are_refused_by_name_and_value);
    RUN(an_observer_reads_without_a_cursor);
    RUN(an_observer_may_start_at_the_latest_record);
    RUN(an_observer_that_gets_two_descriptors_refuses_them);
    RUN(descriptors_that_came_another_way_are_attached_to);
    RUN(running_out_of_descriptors_is_said);
    RUN(a_childs_close_leaves_the_connection_and_the_parents_ends_it);
    return finish_tests();
}
