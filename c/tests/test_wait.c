/* Interrupts from threads and signal handlers, and the descriptor for event loops, level- and
 * edge-triggered. */
#define _GNU_SOURCE 1
#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

#include "fake_listener.h"

static aqd_client *attach(struct fake *f)
{
    fake_start(f);
    fake_answer(f);
    aqd_client *c = NULL;
    aqd_status status = aqd_open(f->path, "demo", "tail", 5000, &c);
    fake_join(f);
    if (status != AQD_OK) {
        abort();
    }
    return c;
}

static void detach(struct fake *f, aqd_client *c)
{
    aqd_close(c);
    fake_free(f);
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

static bool readable(int fd, int timeout_ms)
{
    struct pollfd on = {.fd = fd, .events = POLLIN};
    return poll(&on, 1, timeout_ms) == 1;
}

static void an_interrupt_before_the_sleep_is_not_lost_and_told_once(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    errno = 77;
    aqd_interrupt(c);
    aqd_interrupt(c);
    CHECK_EQ(errno, 77);
    CHECK_EQ(aqd_wait(c, -1), AQD_INTERRUPTED);
    CHECK_EQ(aqd_wait(c, 0), AQD_EMPTY);
    publish(&f, "one");
    aqd_interrupt(c);
    CHECK_EQ(aqd_wait(c, -1), AQD_INTERRUPTED); /* before data, or a busy reader would never hear of it */
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(next(c), AQD_OK);
    detach(&f, c);
}

struct interrupter {
    aqd_client *c;
    uint32_t taken;
    uint32_t rounds;
};

/* One interrupt at a time, at every moment of the other's loop; the next only when it was taken. */
static void *interrupt_often(void *argument)
{
    struct interrupter *i = argument;
    for (uint32_t n = 1; n <= i->rounds; n++) {
        aqd_interrupt(i->c);
        while (__atomic_load_n(&i->taken, __ATOMIC_ACQUIRE) != n) {
            if (n % 3 == 0) {
                nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
            }
        }
    }
    return NULL;
}

static void no_interrupt_of_another_thread_is_lost(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    struct interrupter i = {.c = c, .rounds = 300};
    pthread_t thread;
    if (pthread_create(&thread, NULL, interrupt_often, &i) != 0) {
        abort();
    }
    for (uint32_t n = 1; n <= i.rounds; n++) {
        CHECK_EQ(aqd_wait(c, -1), AQD_INTERRUPTED); /* one that is lost would leave both waiting */
        __atomic_store_n(&i.taken, n, __ATOMIC_RELEASE);
    }
    pthread_join(thread, NULL);
    CHECK_EQ(aqd_wait(c, 0), AQD_EMPTY);
    detach(&f, c);
}

static aqd_client *handled;

static void interrupt_it(int signal)
{
    (void)signal;
    aqd_interrupt(handled);
}

static void a_signal_handler_may_interrupt(void)
{
    struct fake f;
    handled = attach(&f);
    struct sigaction action = {.sa_handler = interrupt_it};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1); /* just before the sleep: the moment that a flag would miss */
    CHECK_EQ(aqd_wait(handled, -1), AQD_INTERRUPTED);
    pid_t us = getpid();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        kill(us, SIGUSR1);
        _exit(0);
    }
    CHECK_EQ(aqd_wait(handled, -1), AQD_INTERRUPTED);
    detach(&f, handled);
}

static void an_event_loop_sleeps_on_one_descriptor(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    int fd = aqd_fd(c), sleep_ms = 0;
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(aqd_arm(c, &sleep_ms), AQD_EMPTY);
    CHECK(sleep_ms >= 1 && sleep_ms <= 500);
    CHECK(!readable(fd, 0));
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_WAITING) & 3, AQD_WAITING_SOCKET);
    publish(&f, "one");
    fake_wake(&f);
    CHECK(readable(fd, 10000));
    CHECK(readable(fd, 0)); /* level: until it is taken */
    CHECK_EQ(next(c), AQD_OK);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_WAITING), 0);
    CHECK_EQ(next(c), AQD_EMPTY);
    CHECK(!readable(fd, 0));
    publish(&f, "two");
    CHECK_EQ(aqd_arm(c, &sleep_ms), AQD_OK); /* published between: no sleep */
    CHECK_EQ(next(c), AQD_OK);
    aqd_interrupt(c);
    CHECK(readable(fd, 10000));
    CHECK_EQ(aqd_arm(c, &sleep_ms), AQD_INTERRUPTED);
    CHECK(!readable(fd, 0));
    CHECK_EQ(aqd_arm(c, &sleep_ms), AQD_EMPTY);
    fake_hang_up(&f);
    CHECK(readable(fd, 10000));
    CHECK_EQ(next(c), AQD_LOST);
    CHECK_EQ(aqd_fd(c), fd);
    CHECK(!readable(fd, 0)); /* an end that is known does not keep the loop busy */
    CHECK_EQ(aqd_arm(c, &sleep_ms), AQD_OK);
    CHECK_EQ(aqd_get_stats(c)->missed_wakes, 0);
    detach(&f, c);
}

static void edges_are_enough(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    int loop = epoll_create1(EPOLL_CLOEXEC), sleep_ms;
    struct epoll_event on = {.events = EPOLLIN | EPOLLET}, event;
    CHECK_EQ(epoll_ctl(loop, EPOLL_CTL_ADD, aqd_fd(c), &on), 0);
    for (int i = 0; i < 50; i++) {
        aqd_status status;
        while ((status = aqd_arm(c, &sleep_ms)) == AQD_OK) {
            while (next(c) == AQD_OK) {
            }
        }
        CHECK_EQ(status, AQD_EMPTY);
        publish(&f, "x");
        fake_wake(&f);
        if (i % 2) {
            fake_wake(&f); /* more than was asked for */
        }
        CHECK_EQ(epoll_wait(loop, &event, 1, 10000), 1);
        CHECK_EQ(next(c), AQD_OK);
        CHECK_EQ(next(c), AQD_EMPTY);
        aqd_release(c);
    }
    close(loop);
    detach(&f, c);
}

static void the_client_keeps_the_time_when_it_is_asked_to(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    int fd = aqd_fd(c);
    CHECK_EQ(aqd_arm(c, NULL), AQD_EMPTY);
    publish(&f, "forgotten"); /* and no wake-up */
    CHECK(readable(fd, 10000));
    CHECK_EQ(next(c), AQD_OK);
    CHECK_EQ(aqd_get_stats(c)->missed_wakes, 1);
    CHECK_EQ(next(c), AQD_EMPTY);
    CHECK(!readable(fd, 0)); /* the tick was taken */
    CHECK_EQ(aqd_arm(c, NULL), AQD_EMPTY);
    publish(&f, "woken");
    fake_wake(&f);
    CHECK(readable(fd, 10000));
    CHECK_EQ(next(c), AQD_OK);
    CHECK_EQ(aqd_get_stats(c)->missed_wakes, 1);
    fake_hang_up(&f);
    CHECK_EQ(aqd_wait(c, 10000), AQD_OK);
    CHECK_EQ(next(c), AQD_LOST);
    detach(&f, c);
}

static void an_observer_needs_no_other_timer(void)
{
    struct fake f;
    fake_start(&f);
    f.n_fds = 1;
    f.welcome.cursor_bytes = 0;
    fake_answer(&f);
    aqd_client *c;
    const aqd_options o = {.size = sizeof o, .path = f.path, .observe = 1};
    CHECK_EQ(aqd_open_with(&o, &c), AQD_OK);
    fake_join(&f);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(aqd_arm(c, NULL), AQD_EMPTY);
        publish(&f, "x");
        CHECK(readable(aqd_fd(c), 10000));
        CHECK_EQ(next(c), AQD_OK);
        CHECK_EQ(next(c), AQD_EMPTY);
    }
    detach(&f, c);
}

static void next_wait_waits_for_a_record_its_time_an_interrupt_or_the_end(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    char buf[1024];
    aqd_record rec;
    CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, 0), AQD_EMPTY);
    CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, 20), AQD_EMPTY);
    publish(&f, "one");
    CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, -1), AQD_OK);
    CHECK(rec.len == 3 && memcmp(buf, "one", 3) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        publish(&f, "two");
        fake_wake(&f);
        _exit(0);
    }
    CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, 10000), AQD_OK);
    CHECK(rec.len == 3 && memcmp(buf, "two", 3) == 0);
    aqd_interrupt(c);
    CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, -1), AQD_INTERRUPTED);
    fake_hang_up(&f);
    CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, -1), AQD_LOST);
    detach(&f, c);
}

struct later {
    struct fake *f;
    const char *text;
};

static void *publish_later(void *argument)
{
    const struct later *l = argument;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    publish(l->f, l->text);
    fake_wake(l->f);
    return NULL;
}

/* A negative time is no time. */
static void next_wait_waits_for_ever_if_it_is_told_so(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    char buf[1024];
    aqd_record rec;
    pthread_t thread;
    struct later l = {.f = &f, .text = "later"};
    if (pthread_create(&thread, NULL, publish_later, &l) != 0) {
        abort();
    }
    CHECK_EQ(aqd_next_wait(c, buf, sizeof buf, &rec, -1), AQD_OK);
    CHECK(rec.len == 5 && memcmp(buf, "later", 5) == 0);
    pthread_join(thread, NULL);
    detach(&f, c);
}

static void *wake_then_publish(void *argument)
{
    const struct later *l = argument;
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    fake_wake(l->f); /* it brings nothing */
    return publish_later(argument);
}

static void a_wake_up_that_brought_nothing_ends_no_wait(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    pthread_t thread;
    struct later l = {.f = &f, .text = "later"};
    if (pthread_create(&thread, NULL, wake_then_publish, &l) != 0) {
        abort();
    }
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(next(c), AQD_OK);
    pthread_join(thread, NULL);
    detach(&f, c);
}

static void a_sleep_that_fails_is_reported_with_its_errno(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC), kept = dup(aqd_fd(c));
    dup2(other, aqd_fd(c)); /* what a program that closes descriptors of others may do to us */
    CHECK_EQ(aqd_wait(c, 0), AQD_ERR_SYSTEM);
    CHECK_EQ(aqd_errno(c), EINVAL);
    CHECK(strcmp(aqd_message(c), "epoll_wait: Invalid argument") == 0);
    dup2(kept, aqd_fd(c));
    CHECK_EQ(aqd_wait(c, 0), AQD_EMPTY);
    close(other);
    close(kept);
    detach(&f, c);
}

static void the_totals_add_up(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    publish(&f, "one");
    publish(&f, "three");
    CHECK_EQ(next(c), AQD_OK);
    const void *payload;
    aqd_record rec;
    CHECK_EQ(aqd_view(c, &payload, &rec), AQD_OK);
    CHECK_EQ(aqd_wait(c, 0), AQD_EMPTY);
    const aqd_totals *t = aqd_get_totals(c);
    CHECK(t->records == 2 && t->payload_bytes == 8 && t->sleeps == 1 && t->attachments == 1 && t->attempts == 0);
    aqd_lag lag;
    publish(&f, "four");
    CHECK_EQ(aqd_measure_lag(c, &lag), AQD_OK);
    CHECK(lag.records == 1 && lag.bytes == 64 && lag.age_ns > 0);
    detach(&f, c);
}

int main(void)
{
    RUN(an_interrupt_before_the_sleep_is_not_lost_and_told_once);
    RUN(no_interrupt_of_another_thread_is_lost);
    RUN(a_signal_handler_may_interrupt);
    RUN(an_event_loop_sleeps_on_one_descriptor);
    RUN(edges_are_enough);
    RUN(the_client_keeps_the_time_when_it_is_asked_to);
    RUN(an_observer_needs_no_other_timer);
    RUN(next_wait_waits_for_a_record_its_time_an_interrupt_or_the_end);
    RUN(next_wait_waits_for_ever_if_it_is_told_so);
    RUN(a_wake_up_that_brought_nothing_ends_no_wait);
    RUN(a_sleep_that_fails_is_reported_with_its_errno);
    RUN(the_totals_add_up);
    return finish_tests();
}
