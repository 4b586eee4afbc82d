/* Takes every record out of the shared memory of the Go server and checks its bytes.
 * Run: gin-reader NAME
 * Expect, after SIGTERM: records=5000 bytes=640000 bad=0 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "../medium.h"

static struct medium *m;
static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
    sem_post(&m->full);
}

int main(int argc, char **argv)
{
    m = argc == 2 ? medium_open(argv[1], 0) : NULL;
    if (!m) {
        fprintf(stderr, "usage: gin-reader NAME\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    unsigned char buf[SLOT_BYTES], pattern[SLOT_BYTES];
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (unsigned char)('a' + i % 26);
    }
    uint64_t records = 0, bytes = 0, bad = 0;
    for (;;) {
        if (sem_wait(&m->full) != 0 && errno == EINTR) {
            continue;
        }
        if (stopped) {
            break;
        }
        struct slot *slot = &m->slots[records % SLOTS];
        uint32_t length = slot->bytes;
        if (length > SLOT_BYTES) {
            bad++;
            break;
        }
        memcpy(buf, slot->payload, length);
        sem_post(&m->empty);
        bad += memcmp(buf, pattern, length) != 0;
        records++;
        bytes += length;
    }
    printf("records=%" PRIu64 " bytes=%" PRIu64 " bad=%" PRIu64 "\n", records, bytes, bad);
    return bad != 0;
}
