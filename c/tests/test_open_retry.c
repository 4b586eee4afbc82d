/* Opening before there is a listener: one that comes later, never, refuses, hangs up or is silent
 * first; and ending the wait. */
#define _GNU_SOURCE 1
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <time.h>

#include "fake_listener.h"

static const char *nowhere(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/aqueduct-test-nowhere-%d", (int)getpid());
    return path;
}

static aqd_options patient(const char *path)
{
    return (aqd_options){.size = sizeof(aqd_options), .path = path, .open_retry_ms = -1, .backoff_min_ms = 1, .backoff_max_ms = 10};
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleep_ms(int ms) { poll(NULL, 0, ms); }

/* Runs beside the client's aqd_open_with. */
static pthread_t beside(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) != 0) {
        abort();
    }
    return thread;
}

static void *come_later(void *argument)
{
    sleep_ms(50);
    unlink(nowhere());
    fake_start_at(argument, nowhere());
    fake_answer(argument);
    return NULL;
}

static void *go_away(void *argument)
{
    struct fake *f = argument;
    fake_join(f);
    close(f->listening);
    f->listening = -1;
    unlink(f->path);
    return NULL;
}

static void expect_attached(aqd_client *c, aqd_status status)
{
    CHECK_EQ(status, AQD_OK);
    CHECK(c && aqd_message(c)[0] == '\0');
    CHECK(aqd_errno(c) == 0 && aqd_refusal(c) == 0);
    if (status == AQD_OK) {
        CHECK(aqd_is_attached(c) && aqd_get_totals(c)->attachments == 1 && aqd_get_totals(c)->attempts == 0);
    }
}

static void a_listener_that_comes_later_is_attached_to(void)
{
    struct fake f;
    pthread_t thread = beside(come_later, &f);
    aqd_options o = patient(nowhere());
    aqd_client *c;
    aqd_status status = aqd_open_with(&o, &c);
    pthread_join(thread, NULL);
    fake_join(&f);
    expect_attached(c, status);
    aqd_close(c);
    fake_free(&f);
}

static void a_socket_left_behind_by_a_dead_listener_is_waited_at(void)
{
    struct fake dead, f;
    fake_start_at(&dead, nowhere());
    close(dead.listening);
    pthread_t thread = beside(come_later, &f);
    aqd_options o = patient(nowhere());
    aqd_client *c;
    aqd_status status = aqd_open_with(&o, &c);
    pthread_join(thread, NULL);
    fake_join(&f);
    expect_attached(c, status);
    aqd_close(c);
    fake_free(&f);
}

static int descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) != -1;
    }
    return count;
}

/* It refuses once, for it is going, and nobody comes after it. */
static void attempts_that_failed_leave_nothing(void)
{
    struct fake f;
    fake_start(&f);
    f.welcome.status = AQD_WELCOME_SHUTTING_DOWN;
    f.n_fds = 0;
    fake_answer(&f);
    int before = descriptors();
    aqd_options o = patient(f.path);
    o.open_retry_ms = 300;
    aqd_client *c;
    pthread_t thread = beside(go_away, &f);
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_SYSTEM);
    pthread_join(thread, NULL);
    CHECK_EQ(aqd_errno(c), ENOENT);
    CHECK_EQ(aqd_refusal(c), 0); /* that was another attempt */
    aqd_close(c);
    CHECK_EQ(descriptors(), before - 1); /* the listening socket */
    fake_free(&f);
}

static void a_listener_that_never_comes_is_given_up_in_time(void)
{
    aqd_options o = patient(nowhere());
    o.open_retry_ms = 60;
    o.backoff_min_ms = 40;
    aqd_client *c;
    int64_t began_ms = now_ms();
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_SYSTEM);
    int64_t took_ms = now_ms() - began_ms;
    CHECK(took_ms >= 60 && took_ms < 10000);
    CHECK_EQ(aqd_errno(c), ENOENT);
    CHECK(strcmp(aqd_message(c), "connect: No such file or directory") == 0);
    CHECK_EQ(aqd_fd(c), -1);
    aqd_close(c);
}

/* The last attempt is made when the time is over, however long the pause would be. */
static void a_pause_ends_with_the_time(void)
{
    struct fake f;
    pthread_t thread = beside(come_later, &f);
    aqd_options o = patient(nowhere());
    o.open_retry_ms = 1000;
    o.backoff_min_ms = 3600 * 1000;
    aqd_client *c;
    aqd_status status = aqd_open_with(&o, &c);
    pthread_join(thread, NULL);
    fake_join(&f);
    expect_attached(c, status);
    aqd_close(c);
    fake_free(&f);
}

static void *mend_after_one_fault(void *argument)
{
    struct fake *f = argument;
    fake_join(f);
    int silent_fd = f->connection; /* stays open, or it would be a hang-up */
    f->hang_up_before_hello = f->hang_up_after_hello = f->silent = false;
    f->welcome.status = AQD_WELCOME_ATTACHED;
    f->n_fds = 2;
    fake_answer_again(f);
    fake_join(f);
    close(silent_fd);
    return NULL;
}

/* One fault, then an honest answer by the same listener; the client must have come twice. */
static void expect_retried(struct fake *f, aqd_options o)
{
    o.path = f->path;
    o.start = AQD_START_OLDEST;
    fake_answer(f);
    pthread_t thread = beside(mend_after_one_fault, f);
    aqd_client *c;
    aqd_status status = aqd_open_with(&o, &c);
    if (status != AQD_OK) { /* nobody else comes: the honest answer is taken, so that this ends */
        aqd_options once = {.size = sizeof once, .path = f->path, .timeout_ms = 5000};
        aqd_client *other;
        CHECK_EQ(aqd_open_with(&once, &other), AQD_OK);
        aqd_close(other);
    }
    pthread_join(thread, NULL);
    expect_attached(c, status);
    CHECK_EQ(aqd_get32(f->hello + 12), AQD_HELLO_ATTACH_OLDEST);
    aqd_close(c);
    fake_free(f);
}

static void one_that_hangs_up_in_the_handshake_is_tried_again(void)
{
    struct fake f;
    fake_start(&f);
    f.hang_up_before_hello = true;
    expect_retried(&f, patient(NULL));
    fake_start(&f);
    f.hang_up_after_hello = true;
    expect_retried(&f, patient(NULL));
}

static void one_that_is_silent_is_tried_again(void)
{
    struct fake f;
    fake_start(&f);
    f.silent = true;
    aqd_options o = patient(NULL);
    o.timeout_ms = 300;
    expect_retried(&f, o);
}

static void refused_and_tried_again(uint32_t refusal)
{
    struct fake f;
    fake_start(&f);
    f.welcome.status = refusal;
    strcpy((char *)f.welcome.message, "not now");
    f.n_fds = 0;
    expect_retried(&f, patient(NULL));
}

static void one_that_is_shutting_down_is_tried_again(void) { refused_and_tried_again(AQD_WELCOME_SHUTTING_DOWN); }

static void one_that_lacks_a_resource_is_tried_again(void) { refused_and_tried_again(AQD_WELCOME_NO_RESOURCE); }

/* Each in one attempt: a second one would wait for ever, for the fake answers once. */
static void what_a_coming_listener_cannot_cure_is_final(void)
{
    for (uint32_t refusal = 1; refusal <= 9; refusal++) {
        if (refusal == AQD_WELCOME_SHUTTING_DOWN || refusal == AQD_WELCOME_NO_RESOURCE) {
            continue;
        }
        struct fake f;
        fake_start(&f);
        f.welcome.status = refusal;
        f.n_fds = 0;
        fake_answer(&f);
        aqd_options o = patient(f.path);
        o.timeout_ms = -1;
        aqd_client *c;
        CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_REFUSED);
        CHECK_EQ(aqd_refusal(c), refusal);
        aqd_close(c);
        fake_join(&f);
        fake_free(&f);
    }
    struct fake f;
    fake_start(&f);
    f.ring_seals = 0;
    fake_answer(&f);
    aqd_options o = patient(f.path);
    o.timeout_ms = -1;
    aqd_client *c;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_NOT_SEALED);
    aqd_close(c);
    fake_join(&f);
    fake_free(&f);
    o = patient("/proc/self/exe/aqueduct.sock");
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_SYSTEM);
    CHECK_EQ(aqd_errno(c), ENOTDIR);
    aqd_close(c);
}

static void ignore(int signal) { (void)signal; }

static void a_signal_handler_does_not_end_the_wait(void)
{
    struct sigaction action = {.sa_handler = ignore}, before;
    sigaction(SIGALRM, &action, &before);
    struct itimerval every = {.it_interval.tv_usec = 5000, .it_value.tv_usec = 5000}, never = {0};
    setitimer(ITIMER_REAL, &every, NULL);
    aqd_options o = patient(nowhere());
    o.open_retry_ms = 60;
    o.backoff_min_ms = o.backoff_max_ms = 50;
    aqd_client *c;
    int64_t began_ms = now_ms();
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_SYSTEM);
    CHECK(now_ms() - began_ms >= 60);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    aqd_close(c);
}

static int stop_fd; /* INVARIANT: an eventfd while a test stops */

static void stop(int signal)
{
    uint64_t one = 1;
    (void)signal;
    (void)!write(stop_fd, &one, sizeof one);
}

static void *stop_later(void *argument)
{
    (void)argument;
    sleep_ms(30);
    stop(0);
    return NULL;
}

/* Opens with stop_fd; it must have ended the wait and been left readable. */
static void expect_stopped(aqd_options o, int why)
{
    aqd_client *c;
    o.stop_fd = stop_fd;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_INTERRUPTED);
    CHECK(c && aqd_fd(c) == -1);
    CHECK_EQ(aqd_errno(c), why);
    aqd_close(c);
    uint64_t count = 0;
    CHECK(read(stop_fd, &count, sizeof count) == sizeof count && count == 1);
}

static void a_readable_stop_descriptor_ends_the_pause(void)
{
    stop_fd = eventfd(0, EFD_CLOEXEC);
    aqd_options o = patient(nowhere());
    o.backoff_min_ms = 3600 * 1000;
    stop(0); /* before the call */
    expect_stopped(o, ENOENT);
    pthread_t thread = beside(stop_later, NULL);
    expect_stopped(o, ENOENT);
    pthread_join(thread, NULL);
    struct sigaction action = {.sa_handler = stop}, before;
    sigaction(SIGALRM, &action, &before);
    struct itimerval once = {.it_value.tv_usec = 30000};
    setitimer(ITIMER_REAL, &once, NULL);
    expect_stopped(o, ENOENT);
    sigaction(SIGALRM, &before, NULL);
    close(stop_fd);
}

static void a_readable_stop_descriptor_ends_the_handshake(void)
{
    stop_fd = eventfd(0, EFD_CLOEXEC);
    struct fake f;
    fake_start(&f);
    f.silent = true;
    fake_answer(&f);
    aqd_options o = patient(f.path);
    o.open_retry_ms = 0;
    o.timeout_ms = -1;
    pthread_t thread = beside(stop_later, NULL);
    expect_stopped(o, 0);
    pthread_join(thread, NULL);
    fake_join(&f);
    fake_free(&f);
    close(stop_fd);
}

static void a_readable_stop_descriptor_ends_the_wait_for_a_place_in_the_backlog(void)
{
    stop_fd = eventfd(0, EFD_CLOEXEC);
    struct fake f;
    fake_start(&f);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, f.path);
    int others[8], n = 0;
    do {
        others[n] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    } while (connect(others[n++], (struct sockaddr *)&address, sizeof address) == 0 && n < 8);
    aqd_options o = patient(f.path);
    o.timeout_ms = -1;
    stop(0);
    expect_stopped(o, 0);
    while (n > 0) {
        close(others[--n]);
    }
    close(f.listening);
    unlink(f.path);
    close(stop_fd);
}

static void a_stop_descriptor_that_is_none_is_an_error(void)
{
    aqd_options o = patient(nowhere());
    o.stop_fd = 9999;
    aqd_client *c;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_SYSTEM);
    CHECK_EQ(aqd_errno(c), EBADF);
    aqd_close(c);
    o.stop_fd = -2;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_ARGUMENT);
    aqd_close(c);
    o = patient(nowhere());
    o.open_retry_ms = -2;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_ARGUMENT);
    aqd_close(c);
}

/* Such a program's structure ends before the field: what lies there is not an option. */
static void a_program_of_before_is_not_tried_again(void)
{
    aqd_options o = patient(nowhere());
    o.size = offsetof(aqd_options, open_retry_ms);
    o.stop_fd = -2;
    aqd_client *c;
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_SYSTEM);
    CHECK_EQ(aqd_errno(c), ENOENT);
    aqd_close(c);
    o.size = offsetof(aqd_options, stop_fd); /* no version */
    CHECK_EQ(aqd_open_with(&o, &c), AQD_ERR_ARGUMENT);
    aqd_close(c);
}

int main(void)
{
    RUN(a_listener_that_comes_later_is_attached_to);
    RUN(a_socket_left_behind_by_a_dead_listener_is_waited_at);
    RUN(attempts_that_failed_leave_nothing);
    RUN(a_listener_that_never_comes_is_given_up_in_time);
    RUN(a_pause_ends_with_the_time);
    RUN(one_that_hangs_up_in_the_handshake_is_tried_again);
    RUN(one_that_is_silent_is_tried_again);
    RUN(one_that_is_shutting_down_is_tried_again);
    RUN(one_that_lacks_a_resource_is_tried_again);
    RUN(what_a_coming_listener_cannot_cure_is_final);
    RUN(a_signal_handler_does_not_end_the_wait);
    RUN(a_readable_stop_descriptor_ends_the_pause);
    RUN(a_readable_stop_descriptor_ends_the_handshake);
    RUN(a_readable_stop_descriptor_ends_the_wait_for_a_place_in_the_backlog);
    RUN(a_stop_descriptor_that_is_none_is_an_error);
    RUN(a_program_of_before_is_not_tried_again);
    return finish_tests();
}
