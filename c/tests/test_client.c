/* An attached client: reading, telling of space, waking, and every way in which a listener can
 * end. */
#define _GNU_SOURCE 1
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "../src/linux/clock.h"
#include "fake_listener.h"

static aqd_client *attach(struct fake *f)
{
    fake_start(f);
    fake_answer(f);
    aqd_client *c = NULL;
    aqd_status status = aqd_open(f->path, "demo", "tail", 5000, &c);
    fake_join(f);
    if (status != AQD_OK) {
        printf("  cannot attach: %s\n", aqd_message(c));
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

static aqd_status next(aqd_client *c, const char *text)
{
    char buf[1024];
    aqd_record rec;
    aqd_status status = aqd_next(c, buf, sizeof buf, &rec);
    CHECK(status != AQD_OK || (rec.len == strlen(text) && memcmp(buf, text, rec.len) == 0));
    return status;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void what_is_left_of_a_deadline_is_at_most_a_slice(void)
{
    CHECK_EQ(aqd_poll_ms(-1, 50), 50); /* none */
    CHECK_EQ(aqd_poll_ms(0, 50), 0); /* when the machine started */
    CHECK_EQ(aqd_poll_ms(1, 50), 0);
    int64_t before_ms = now_ms(), ms = aqd_now_ms();
    CHECK(before_ms <= ms && ms <= now_ms());
    CHECK_EQ(aqd_poll_ms(now_ms() + 100000, 50), 50);
    int left_ms = aqd_poll_ms(now_ms() + 100000, 1000000);
    CHECK(left_ms > 0 && left_ms <= 100000);
}

static void records_are_read_viewed_and_released(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    CHECK_EQ(next(c, ""), AQD_EMPTY);
    publish(&f, "one");
    publish(&f, "two");
    CHECK_EQ(next(c, "one"), AQD_OK);
    const void *payload;
    aqd_record rec;
    CHECK_EQ(aqd_view(c, &payload, &rec), AQD_OK);
    CHECK(rec.len == 3 && memcmp(payload, "two", 3) == 0);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_CURSOR), 0);
    CHECK_EQ(aqd_release(c), AQD_OK);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_CURSOR), 4);
    CHECK_EQ(recv(f.connection, &rec, 1, MSG_DONTWAIT), -1); /* nobody wants space: nothing is sent */
    detach(&f, c);
}

static void a_producer_that_waits_for_space_is_told_once(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    aqd_put32(f.w.ring + AQD_RING_SPACE_WANTED, 5);
    aqd_release(c);
    aqd_release(c);
    char packet[8];
    CHECK_EQ(recv(f.connection, packet, sizeof packet, MSG_DONTWAIT), 1);
    CHECK_EQ(packet[0], 'S');
    CHECK_EQ(recv(f.connection, packet, sizeof packet, MSG_DONTWAIT), -1);
    detach(&f, c);
}

static void telling_never_blocks_and_never_raises_sigpipe(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    for (uint32_t i = 1; i < 5000; i++) { /* more than the socket holds */
        aqd_put32(f.w.ring + AQD_RING_SPACE_WANTED, i);
        CHECK_EQ(aqd_release(c), AQD_OK);
    }
    fake_hang_up(&f);
    for (uint32_t i = 5000; i < 5003; i++) { /* the first meets ECONNRESET, the others EPIPE */
        aqd_put32(f.w.ring + AQD_RING_SPACE_WANTED, i);
        CHECK_EQ(aqd_release(c), AQD_OK);
    }
    detach(&f, c);
}

static void waiting_with_data_there_does_not_sleep(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    publish(&f, "one");
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(next(c, "one"), AQD_OK);
    detach(&f, c);
}

static void waiting_for_nothing_ends_by_its_timeout(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    int64_t start_ms = now_ms();
    CHECK_EQ(aqd_wait(c, 40), AQD_EMPTY);
    CHECK(now_ms() - start_ms >= 39);
    CHECK_EQ(aqd_wait(c, 0), AQD_EMPTY);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_WAITING), 0);
    CHECK_EQ(aqd_get_stats(c)->missed_wakes, 0);
    detach(&f, c);
}

/* Sees the reader asleep, as a producer does, then publishes and wakes it (or does not). */
static uint32_t wait_until_asleep(const struct fake *f)
{
    uint32_t waiting;
    while ((waiting = aqd_le32(__atomic_load_n((uint32_t *)(void *)(f->w.cursor + AQD_CURSOR_WAITING), __ATOMIC_SEQ_CST))) == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return waiting;
}

static void *publish_and_wake(void *argument)
{
    struct fake *f = argument;
    CHECK_EQ(wait_until_asleep(f) & 3, AQD_WAITING_SOCKET);
    publish(f, "one");
    fake_wake(f);
    return NULL;
}

static void *publish_and_forget_to_wake(void *argument)
{
    struct fake *f = argument;
    wait_until_asleep(f);
    publish(f, "one");
    return NULL;
}

static void *only_hang_up(void *argument)
{
    struct fake *f = argument;
    wait_until_asleep(f);
    fake_hang_up(f);
    return NULL;
}

static void *only_wake(void *argument)
{
    struct fake *f = argument;
    wait_until_asleep(f);
    for (int i = 0; i < 5; i++) {
        fake_wake(f);
    }
    return NULL;
}

static aqd_status wait_beside(aqd_client *c, struct fake *f, void *(*beside)(void *), int timeout_ms)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, beside, f) != 0) {
        abort();
    }
    aqd_status status = aqd_wait(c, timeout_ms);
    pthread_join(thread, NULL);
    return status;
}

static void a_sleeping_reader_is_woken_by_a_packet(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    CHECK_EQ(wait_beside(c, &f, publish_and_wake, -1), AQD_OK);
    CHECK_EQ(next(c, "one"), AQD_OK);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_WAITING), 0);
    CHECK_EQ(aqd_get_stats(c)->missed_wakes, 0);
    detach(&f, c);
}

static void a_forgotten_wake_costs_a_slice_and_is_counted(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    CHECK_EQ(wait_beside(c, &f, publish_and_forget_to_wake, -1), AQD_OK);
    CHECK_EQ(next(c, "one"), AQD_OK);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_MISSED_WAKES), 1);
    detach(&f, c);
}

static void wakes_without_data_are_drained_and_slept_through(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    CHECK_EQ(wait_beside(c, &f, only_wake, 50), AQD_EMPTY);
    aqd_wait(c, 0);
    struct pollfd on = {.fd = aqd_fd(c), .events = POLLIN};
    CHECK_EQ(poll(&on, 1, 0), 0);
    detach(&f, c);
}

static void a_listener_that_dies_is_reported_after_its_last_record(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    publish(&f, "one");
    publish(&f, "two");
    fake_wake(&f);
    fake_hang_up(&f);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(next(c, "one"), AQD_OK);
    CHECK_EQ(next(c, "two"), AQD_OK);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(next(c, ""), AQD_LOST);
    CHECK_EQ(next(c, ""), AQD_LOST);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK(strcmp(aqd_version(), AQD_VERSION) == 0);
    CHECK(strcmp(aqd_strerror(AQD_LOST), "the listener died without closing the ring") == 0);
    CHECK_EQ(aqd_release(c), AQD_OK);
    CHECK_EQ(aqd_get32(f.w.cursor + AQD_CURSOR_CURSOR), 4);
    detach(&f, c);
}

static void a_listener_that_dies_wakes_its_reader(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    CHECK_EQ(wait_beside(c, &f, only_hang_up, -1), AQD_OK);
    CHECK_EQ(next(c, ""), AQD_LOST);
    detach(&f, c);
}

static void a_reader_that_never_waits_notices_the_death_too(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    publish(&f, "one");
    fake_hang_up(&f);
    CHECK_EQ(next(c, "one"), AQD_OK);
    int calls = 0;
    aqd_status status;
    while ((status = next(c, "")) == AQD_EMPTY && calls < 5000) {
        calls++;
    }
    CHECK_EQ(status, AQD_LOST);
    CHECK(calls < 1024);
    detach(&f, c);
}

static void a_closed_ring_is_closed_even_if_the_listener_has_gone(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    publish(&f, "one");
    writer_close(&f.w);
    fake_hang_up(&f);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(next(c, "one"), AQD_OK);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(next(c, ""), AQD_CLOSED);
    CHECK_EQ(aqd_wait(c, -1), AQD_OK);
    CHECK_EQ(next(c, ""), AQD_CLOSED);
    detach(&f, c);
}

static void do_nothing(int signal) { (void)signal; }

static void a_signal_ends_a_wait_early(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    struct sigaction ignore = {.sa_handler = do_nothing};
    sigaction(SIGALRM, &ignore, NULL);
    struct itimerval alarm = {.it_value = {.tv_usec = 20000}, .it_interval = {.tv_usec = 20000}};
    setitimer(ITIMER_REAL, &alarm, NULL);
    int64_t start_ms = now_ms();
    CHECK_EQ(aqd_wait(c, 10000), AQD_EMPTY);
    CHECK(now_ms() - start_ms < 5000);
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    detach(&f, c);
}

static void ends_and_damage_are_told_apart(void)
{
    for (int i = 0; i < 64; i++) {
        CHECK_EQ(aqd_is_end((aqd_status)i), i == AQD_CLOSED || i == AQD_LOST || i == AQD_ERR_TAIL || i >= 32);
        CHECK_EQ(aqd_is_damage((aqd_status)i), (i >= 16 && i <= 18) || i == AQD_ERR_OVERRUN);
    }
}

static void plain_accessors_say_what_the_structures_say(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    CHECK(aqd_epoch(c) == f.epoch && aqd_epoch(c) == aqd_get_info(c)->epoch);
    CHECK(aqd_max_payload(c) > 0 && aqd_max_payload(c) == aqd_get_info(c)->max_payload);
    CHECK(aqd_ring_name(c) == aqd_get_info(c)->name);
    publish(&f, "damaged");
    f.w.ring[FAKE_OFFSET + 32] ^= 1;
    char buf[1024];
    aqd_record rec;
    CHECK_EQ(aqd_next(c, buf, sizeof buf, &rec), AQD_ERR_PAYLOAD);
    CHECK(aqd_corrupt(c) == 1 && aqd_lost(c) == 1);
    CHECK(strcmp(aqd_version(), AQD_VERSION) == 0 && aqd_version_number() == AQD_VERSION_NUMBER);
    detach(&f, c);
}

static void every_status_has_words_of_its_own(void)
{
    for (int i = 0; i < 64; i++) {
        const char *words = aqd_strerror((aqd_status)i);
        bool known = i <= 6 || (i >= 16 && i <= 23) || (i >= 32 && i <= 46);
        CHECK((strcmp(words, "unknown status") != 0) == known);
    }
    CHECK(strcmp(aqd_message(NULL), "there is no client: no memory, or nowhere to put it") == 0);
    CHECK_EQ(aqd_refusal(NULL), 0);
    aqd_close(NULL);
}

/* A descriptor that ended up with the number of a socket that was lost is not the client's. */
static void a_lost_connection_is_closed_once_and_leaves_the_set(void)
{
    struct fake f;
    aqd_client *c = attach(&f);
    fflush(stdout);
    int until[2];
    if (pipe(until) != 0) {
        abort();
    }
    pid_t child = fork(); /* it holds a copy of the socket */
    if (child == 0) {
        char byte;
        close(until[1]);
        close(f.connection); /* the listener's end is not copied */
        (void)!read(until[0], &byte, 1);
        _exit(0);
    }
    fake_hang_up(&f);
    CHECK_EQ(aqd_wait(c, 10000), AQD_OK);
    CHECK_EQ(next(c, ""), AQD_LOST);
    struct pollfd on = {.fd = aqd_fd(c), .events = POLLIN};
    CHECK_EQ(poll(&on, 1, 0), 0);
    int others[8];
    for (int i = 0; i < 8; i++) {
        others[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    aqd_close(c);
    for (int i = 0; i < 8; i++) {
        CHECK(close(others[i]) == 0);
    }
    close(until[1]);
    close(until[0]);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    fake_free(&f);
}

int main(void)
{
    RUN(a_lost_connection_is_closed_once_and_leaves_the_set);
    RUN(what_is_left_of_a_deadline_is_at_most_a_slice);
    RUN(records_are_read_viewed_and_released);
    RUN(a_producer_that_waits_for_space_is_told_once);
    RUN(telling_never_blocks_and_never_raises_sigpipe);
    RUN(waiting_with_data_there_does_not_sleep);
    RUN(waiting_for_nothing_ends_by_its_timeout);
    RUN(a_sleeping_reader_is_woken_by_a_packet);
    RUN(a_forgotten_wake_costs_a_slice_and_is_counted);
    RUN(wakes_without_data_are_drained_and_slept_through);
    RUN(a_listener_that_dies_is_reported_after_its_last_record);
    RUN(a_listener_that_dies_wakes_its_reader);
    RUN(a_reader_that_never_waits_notices_the_death_too);
    RUN(a_closed_ring_is_closed_even_if_the_listener_has_gone);
    RUN(a_signal_ends_a_wait_early);
    RUN(every_status_has_words_of_its_own);
    RUN(ends_and_damage_are_told_apart);
    RUN(plain_accessors_say_what_the_structures_say);
    return finish_tests();
}
