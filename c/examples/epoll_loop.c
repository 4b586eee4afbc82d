/* A ring beside other descriptors in one epoll loop: records as they come, and every second, from a
 * timer of the program's own, how far the loop lags.
 * Run: build/epoll_loop /run/aqueduct.sock demo audit
 * Expect: 0 7 15, then each second: behind by 0 records, 0 bytes, 0 us
 * Ends with 0 when the listener closes the ring, and on SIGINT or SIGTERM. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "aqueduct/client.h"

static aqd_client *client;

static void stop(int signal)
{
    (void)signal;
    aqd_interrupt(client);
}

/* Step 1 of aqd_fd's contract: everything that is there. It is released on the way, too: a full
 * ring does not wait until this loop has caught up. */
static aqd_status read_all(void *buf, size_t cap)
{
    aqd_record rec;
    aqd_status status;
    for (unsigned n = 1; (status = aqd_next(client, buf, cap, &rec)) == AQD_OK; n++) {
        printf("%" PRIu64 " %u %" PRIu32 "\n", rec.seq, rec.type_tag, rec.len);
        if (n % 64 == 0) {
            fflush(stdout);
            aqd_release(client);
        }
    }
    fflush(stdout);
    aqd_release(client);
    return status;
}

static void report(int timer)
{
    uint64_t ticks;
    aqd_lag lag;
    if (read(timer, &ticks, sizeof ticks) == sizeof ticks && aqd_measure_lag(client, &lag) == AQD_OK) {
        printf("behind by %" PRIu64 " records, %" PRIu64 " bytes, %" PRIu64 " us\n", lag.records, lag.bytes, lag.age_ns / 1000);
        fflush(stdout);
    }
}

static int loop(int epoll, int timer, void *buf, size_t cap)
{
    for (;;) {
        aqd_status status = read_all(buf, cap);
        if (status == AQD_EMPTY) {
            status = aqd_arm(client, NULL); /* step 2: the client keeps the time */
        }
        if (status == AQD_CLOSED || status == AQD_INTERRUPTED) {
            return 0;
        }
        if (status != AQD_EMPTY && status != AQD_OK) {
            fprintf(stderr, "%s\n", aqd_strerror(status)); /* an end, or damage, which was skipped and counted */
        }
        if (aqd_is_end(status)) {
            return 1;
        }
        int sleep_ms = status == AQD_EMPTY ? -1 : 0; /* more to read: only look at the other descriptors */
        struct epoll_event events[4];
        int n = epoll_wait(epoll, events, 4, sleep_ms);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == timer) {
                report(timer);
            } /* the ring's needs nothing: the next turn reads whatever ended the sleep */
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s SOCKET RING SUBSCRIPTION\n", argv[0]);
        return 2;
    }
    aqd_status status = aqd_open(argv[1], argv[2], argv[3], 5000, &client);
    if (status != AQD_OK) {
        fprintf(stderr, "%s: %s\n", aqd_strerror(status), aqd_message(client));
        aqd_close(client);
        return 1;
    }
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    int code = 1, epoll = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event ring = {.events = EPOLLIN, .data.fd = aqd_fd(client)}, tick = {.events = EPOLLIN, .data.fd = timer};
    struct itimerspec every = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
    size_t cap = aqd_max_payload(client);
    void *buf = malloc(cap + 1);
    if (buf && epoll >= 0 && timer >= 0 && timerfd_settime(timer, 0, &every, NULL) == 0
        && epoll_ctl(epoll, EPOLL_CTL_ADD, ring.data.fd, &ring) == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &tick) == 0) {
        code = loop(epoll, timer, buf, cap);
    } else {
        perror("epoll_loop");
    }
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    free(buf);
    close(timer);
    close(epoll);
    aqd_close(client);
    return code;
}
