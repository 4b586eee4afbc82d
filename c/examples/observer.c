/* Looks at a ring without a subscription and without holding anybody back, and says which records
 * it came too late for. Run: build/observer /run/aqueduct.sock demo Expect: 0 7 15 missed 12
 * records before 13     (only if the ring came round before it had read them) It follows the
 * listener through restarts, for a minute each. Ends with 0 when that is over and with SIGINT or
 * SIGTERM. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "aqueduct/client.h"

static aqd_client *client;

static void stop(int signal)
{
    (void)signal;
    aqd_interrupt(client);
}

/* Prints what a reading call answered; false if there is no going on. */
static bool tell(aqd_status status, const aqd_record *rec)
{
    const aqd_evidence *e = aqd_get_evidence(client);
    switch (status) {
    case AQD_OK: printf("%" PRIu64 " %u %" PRIu32 "\n", rec->seq, rec->type_tag, rec->len); return true;
    case AQD_ERR_OVERRUN:
        /* Equal numbers: how many is not known yet; a later call says. */
        if (e->found_seq > e->expected_seq) {
            printf("missed %" PRIu64 " records before %" PRIu64 "\n", e->found_seq - e->expected_seq, e->found_seq);
        }
        return true;
    case AQD_EPOCH_CHANGED: printf("another ring after %" PRIu64 " ms\n", aqd_get_change(client)->down_ms); return true;
    case AQD_CLOSED: case AQD_LOST: case AQD_ERR_TAIL: return false;
    default: printf("%s\n", aqd_strerror(status)); return true; /* damage: it was skipped and counted */
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s SOCKET RING\n", argv[0]);
        return 2;
    }
    aqd_options options = {.size = sizeof options, .path = argv[1], .ring = argv[2], .observe = 1, .reconnect_ms = 60000};
    aqd_status status = aqd_open_with(&options, &client);
    if (status != AQD_OK) {
        fprintf(stderr, "%s: %s\n", aqd_strerror(status), aqd_message(client));
        aqd_close(client);
        return 1;
    }
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    size_t cap = 0;
    void *buf = NULL;
    aqd_record rec;
    do {
        if (!buf || aqd_get_info(client)->max_payload > cap) { /* at first, and when another ring takes larger records */
            cap = aqd_get_info(client)->max_payload;
            free(buf);
            buf = malloc(cap + 1);
            if (!buf) {
                break;
            }
        }
        status = aqd_next(client, buf, cap, &rec);
        if (status == AQD_EMPTY) {
            fflush(stdout);
            status = aqd_wait(client, -1) == AQD_INTERRUPTED ? AQD_CLOSED : AQD_EMPTY;
        } else if (!tell(status, &rec)) {
            fprintf(stderr, "%s\n", aqd_strerror(status));
            break;
        }
    } while (status != AQD_CLOSED);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    free(buf);
    aqd_close(client);
    return status == AQD_ERR_TAIL || !buf;
}
