/* The system calls of the library, counted, spoiled and refused: linked with --wrap, so that each
 * goes through here first. */
#define _GNU_SOURCE 1
#include <sys/epoll.h>
#include <time.h>

#include "fake_listener.h"

static int calls;          /* of the reading thread since it was set to 0 */
static bool spoil;         /* a signal handler ran after each call and left its own errno */
static __thread bool us;

/* Calls of this name that fail with this errno, of the thread that is counted. */
static const char *refused = "";
static int refusals, refused_errno;
static bool flood; /* recvmmsg brings as many packets as it may, whenever it is asked */

static bool is_to_fail(const char *name) { return us && refusals > 0 && strcmp(name, refused) == 0; }

static long counted(const char *name, long result)
{
    calls += us;
    if (is_to_fail(name)) {
        refusals--;
        errno = refused_errno;
        return -1;
    }
    if (spoil && result < 0) {
        errno = ENOENT;
    }
    return result;
}

#define WRAP(type, name, declaration, arguments)                                                                                           \
    type __real_##name declaration;                                                                                                        \
    type __wrap_##name declaration;                                                                                                        \
    type __wrap_##name declaration { return (type)counted(#name, is_to_fail(#name) ? 0 : (long)__real_##name arguments); }
WRAP(int, epoll_wait, (int fd, struct epoll_event *events, int max, int timeout), (fd, events, max, timeout))
WRAP(int, epoll_ctl, (int fd, int op, int of, struct epoll_event *event), (fd, op, of, event))
WRAP(int, poll, (struct pollfd *on, nfds_t n, int timeout), (on, n, timeout))
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t bytes), (fd, to, bytes))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
WRAP(ssize_t, recv, (int fd, void *to, size_t n, int flags), (fd, to, n, flags))
WRAP(ssize_t, send, (int fd, const void *from, size_t n, int flags), (fd, from, n, flags))
WRAP(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n))
WRAP(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n))

int __real_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t);
int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t);
int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t)
{
    if (us && flood) {
        for (unsigned i = 0; i < n; i++) {
            m[i].msg_len = 1;
        }
        calls++;
        return (int)n;
    }
    return (int)counted("recvmmsg", is_to_fail("recvmmsg") ? 0 : __real_recvmmsg(fd, m, n, flags, t));
}

static aqd_client *attach(struct fake *f)
{
    fake_start(f);
    fake_answer(f);
    aqd_client *c = NULL;
    if (aqd_open(f->path, "demo", "tail", 5000, &c) != AQD_OK) {
        abort();
    }
    fake_join(f);
    us = true;
    calls = 0;
    return c;
}

static void detach(struct fake *f, aqd_client *c)
{
    us = false;
    spoil = false;
    aqd_close(c);
    fake_free(f);
}

static void publish(struct fake *f)
{
    writer_data(&f->w, 0, "x", 1);
    writer_publish(&f->w);
}

#define WAKES 50

/* Publishes when the reader sleeps, as a listener does: once for each position slept at. */
static void *wake_when_asleep(void *argument)
{
    struct fake *f = argument;
    uint32_t before = 0;
    for (int i = 0; i < WAKES; i++) {
        uint32_t waiting;
        do {
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
            waiting = __atomic_load_n((uint32_t *)(void *)(f->w.cursor + AQD_CURSOR_WAITING), __ATOMIC_SEQ_CST);
        } while (waiting == 0 || waiting == before);
        before = waiting;
        publish(f);
        fake_wake(f);
    }
    return NULL;
}

static void a_wake_up_costs_two_system_calls(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    pthread_t thread;
    if (pthread_create(&thread, NULL, wake_when_asleep, &f) != 0) {
        abort();
    }
    char buf[64];
    aqd_record rec;
    for (int i = 0; i < WAKES; i++) {
        CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, 10000), AQD_OK);
        aqd_release(c);
    }
    pthread_join(thread, NULL);
    CHECK(aqd_get_totals(c)->sleeps >= WAKES);
    CHECK(calls > WAKES && calls <= 2 * (int)aqd_get_totals(c)->sleeps);
    detach(&f, c);
}

static void an_event_loop_pays_one_call_beside_its_own(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    char buf[64];
    aqd_record rec;
    CHECK_EQ(aqd_arm(c, NULL), AQD_EMPTY); /* the timer is made and set */
    calls = 0;
    for (int i = 0; i < WAKES; i++) {
        publish(&f);
        us = false;
        fake_wake(&f);
        us = true;
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_OK);
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
        aqd_release(c);
        CHECK_EQ(aqd_arm(c, NULL), AQD_EMPTY);
    }
    CHECK_EQ(calls, WAKES);
    detach(&f, c);
}

static void a_handler_that_spoils_errno_ends_nothing(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    char buf[64];
    aqd_record rec;
    int sleep_ms;
    spoil = true;
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(aqd_arm(c, &sleep_ms), AQD_EMPTY);
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY); /* nothing to take: EAGAIN, spoiled */
        CHECK_EQ(aqd_wait(c, 1), AQD_EMPTY);
    }
    for (int i = 0; i < 3000; i++) { /* and a look at the socket now and then */
        CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
    }
    CHECK(aqd_is_attached(c));
    us = false;
    publish(&f);
    fake_wake(&f);
    CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, 10000), AQD_OK);
    fake_hang_up(&f);
    CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, 10000), AQD_LOST);
    detach(&f, c);
}

static void *(*serve)(void *) = fake_serve;

/* Opens while calls of this name fail; the status. */
static aqd_status open_while(struct fake *f, const char *name, int times, int with)
{
    aqd_client *c = NULL;
    fake_answer_by(f, serve);
    refused = name;
    refusals = times;
    refused_errno = with;
    us = true;
    aqd_status status = aqd_open(f->path, "demo", "tail", 20000, &c);
    us = false;
    CHECK_EQ(aqd_errno(c), status == AQD_ERR_SYSTEM ? with : 0);
    CHECK((aqd_message(c)[0] != 0) == (status != AQD_OK));
    if (status == AQD_ERR_SYSTEM) {
        CHECK(strncmp(aqd_message(c), name, strlen(name)) == 0);
    }
    aqd_close(c);
    shutdown(f->listening, SHUT_RDWR); /* it may have got nothing to answer */
    fake_join(f);
    fake_free(f);
    refusals = 0;
    return status;
}

/* Answers and goes, without having heard anything. */
static void *serve_unheard(void *argument)
{
    struct fake *f = argument;
    f->connection = accept4(f->listening, NULL, NULL, SOCK_CLOEXEC);
    fake_send_welcome(f);
    fake_hang_up(f);
    return NULL;
}

/* What a signal, a full queue and a listener that answered and went look like, and what is an
 * error. */
static void a_call_that_fails_while_opening_is_tried_again_or_told(void)
{
    static const struct {
        const char *name;
        int times, with;
        aqd_status status;
    } cases[] = {
        {"connect", 1, EINTR, AQD_OK},
        {"connect", 3, EAGAIN, AQD_OK},
        {"connect", 1, EACCES, AQD_ERR_SYSTEM},
        {"send", 1, ENOBUFS, AQD_ERR_SYSTEM},
        {"recvmsg", 1, EINTR, AQD_OK},
        {"recvmsg", 2, EAGAIN, AQD_OK},
        {"recvmsg", 1, ECONNRESET, AQD_OK},
        {"recvmsg", 2, ECONNRESET, AQD_ERR_HANGUP},
        {"recvmsg", 1, EPIPE, AQD_ERR_HANGUP},
        {"recvmsg", 1, EIO, AQD_ERR_SYSTEM},
        {"epoll_ctl", 1, ENOSPC, AQD_ERR_SYSTEM},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fake f;
        fake_start(&f);
        aqd_status status = open_while(&f, cases[i].name, cases[i].times, cases[i].with);
        if (status != cases[i].status) {
            printf("  %s, %d times errno %d\n", cases[i].name, cases[i].times, cases[i].with);
        }
        CHECK_EQ(status, cases[i].status);
    }
    /* It refused and went before it had heard the hello: the answer is there. */
    static const int gone[] = {EPIPE, ECONNRESET};
    for (size_t i = 0; i < 2; i++) {
        struct fake f;
        fake_start(&f);
        f.welcome.status = AQD_WELCOME_BUSY;
        f.n_fds = 0;
        strcpy((char *)f.welcome.message, "busy");
        serve = serve_unheard;
        CHECK_EQ(open_while(&f, "send", 1, gone[i]), AQD_ERR_REFUSED);
        serve = fake_serve;
    }
}

static void *serve_late(void *argument)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* so that the client sleeps */
    return fake_serve(argument);
}

static void a_sleep_that_a_signal_ends_is_no_timeout(void)
{
    static const struct {
        int with;
        aqd_status status;
    } cases[] = {{EINTR, AQD_OK}, {EINVAL, AQD_ERR_SYSTEM}};
    for (size_t i = 0; i < 2; i++) {
        struct fake f;
        fake_start(&f);
        serve = serve_late;
        CHECK_EQ(open_while(&f, "poll", 1, cases[i].with), cases[i].status);
        serve = fake_serve;
    }
}

static void descriptors_that_cannot_be_watched_are_told(void)
{
    struct fake f;
    fake_start(&f);
    fake_answer(&f);
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    for (int fails = 0; fails < 2; fails++) {
        aqd_client *c = NULL;
        refused = "epoll_ctl";
        refusals = fails;
        refused_errno = ENOSPC;
        us = true;
        CHECK_EQ(aqd_open_fds(dup(ends[0]), f.ring_fd, f.cursor_fd, &c), fails ? AQD_ERR_SYSTEM : AQD_OK);
        us = false;
        CHECK(strcmp(aqd_message(c), fails ? "epoll_ctl: No space left on device" : "") == 0);
        aqd_close(c);
    }
    close(ends[0]);
    close(ends[1]);
    shutdown(f.listening, SHUT_RDWR);
    fake_join(&f);
    fake_free(&f);
}

/* What could not be made is made at the next attempt, and nobody takes the reader for asleep. */
static void a_timer_that_cannot_be_watched_is_told_and_tried_again(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    refused = "epoll_ctl";
    refusals = 1;
    refused_errno = ENOSPC;
    CHECK_EQ(aqd_arm(c, NULL), AQD_ERR_SYSTEM);
    CHECK(strcmp(aqd_message(c), "epoll_ctl: No space left on device") == 0);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_WAITING), 0);
    int lowest = dup(0); /* the timer's was closed: this would be its number */
    close(lowest);
    CHECK_EQ(aqd_arm(c, NULL), AQD_EMPTY);
    int next = dup(0);
    CHECK(next > lowest);
    close(next);
    struct pollfd on = {.fd = aqd_fd(c), .events = POLLIN};
    us = false;
    CHECK_EQ(poll(&on, 1, 10000), 1); /* and it ticks */
    detach(&f, c);
}

/* From a signal handler, which must leave errno as it was. */
static void an_interrupt_leaves_errno_alone(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    refused = "write";
    refusals = 1;
    refused_errno = EAGAIN;
    errno = 4711;
    aqd_interrupt(c);
    CHECK_EQ(errno, 4711);
    detach(&f, c);
}

/* One system call if there is a packet, or nothing but the look, the timer and the interrupt. */
static void a_look_that_finds_nothing_costs_three_calls(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    char buf[64];
    aqd_record rec;
    int sleep_ms;
    CHECK_EQ(aqd_arm(c, NULL), AQD_EMPTY);
    calls = 0;
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
    CHECK_EQ(calls, 3);
    /* A signal came between. */
    CHECK_EQ(aqd_arm(c, &sleep_ms), AQD_EMPTY);
    refused = "recvmmsg";
    refusals = 1;
    refused_errno = EINTR;
    calls = 0;
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
    CHECK_EQ(calls, 4);
    detach(&f, c);
}

/* However fast a listener sends, a call that reads takes so many packets and goes on. */
static void a_flood_of_packets_keeps_no_call(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    char buf[64];
    aqd_record rec;
    int sleep_ms;
    CHECK_EQ(aqd_arm(c, &sleep_ms), AQD_EMPTY);
    flood = true;
    calls = 0;
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_EMPTY);
    CHECK(calls >= 2 && calls <= 40);
    flood = false;
    CHECK(aqd_is_attached(c));
    detach(&f, c);
}

int main(void)
{
    RUN(a_call_that_fails_while_opening_is_tried_again_or_told);
    RUN(descriptors_that_cannot_be_watched_are_told);
    RUN(a_sleep_that_a_signal_ends_is_no_timeout);
    RUN(a_timer_that_cannot_be_watched_is_told_and_tried_again);
    RUN(an_interrupt_leaves_errno_alone);
    RUN(a_look_that_finds_nothing_costs_three_calls);
    RUN(a_flood_of_packets_keeps_no_call);
    RUN(a_wake_up_costs_two_system_calls);
    RUN(an_event_loop_pays_one_call_beside_its_own);
    RUN(a_handler_that_spoils_errno_ends_nothing);
    return finish_tests();
}
