/* The system calls of a sleep, counted and spoiled: linked with --wrap, so that each goes through
 * here first. */
#define _GNU_SOURCE 1
#include <sys/epoll.h>
#include <time.h>

#include "fake_listener.h"

static int calls;          /* of the reading thread since it was set to 0 */
static bool spoil;         /* a signal handler ran after each call and left its own errno */
static __thread bool us;

static long counted(long result)
{
    calls += us;
    if (spoil && result < 0) {
        errno = ENOENT;
    }
    return result;
}

#define WRAP(type, name, declaration, arguments)                                                                                           \
    type __real_##name declaration;                                                                                                        \
    type __wrap_##name declaration;                                                                                                        \
    type __wrap_##name declaration { return (type)counted((long)__real_##name arguments); }
WRAP(int, epoll_wait, (int fd, struct epoll_event *events, int max, int timeout), (fd, events, max, timeout))
WRAP(int, epoll_ctl, (int fd, int op, int of, struct epoll_event *event), (fd, op, of, event))
WRAP(int, poll, (struct pollfd *on, nfds_t n, int timeout), (on, n, timeout))
WRAP(int, recvmmsg, (int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t), (fd, m, n, flags, t))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
WRAP(ssize_t, recv, (int fd, void *to, size_t n, int flags), (fd, to, n, flags))
WRAP(ssize_t, send, (int fd, const void *from, size_t n, int flags), (fd, from, n, flags))
WRAP(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n))
WRAP(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n))

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

int main(void)
{
    RUN(a_wake_up_costs_two_system_calls);
    RUN(an_event_loop_pays_one_call_beside_its_own);
    RUN(a_handler_that_spoils_errno_ends_nothing);
    return finish_tests();
}
