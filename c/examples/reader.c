/* The reading loop. README.md, c/README.md and libaqueduct(7) show what follows, word for word; it
 * runs against them all in tests/test_loop.c and tests/man.sh.
 * Run: reader     Expect: 0 23.5     (sequence number, payload) */
#include <aqueduct/client.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    aqd_client *c;
    aqd_status s = aqd_open("/tmp/aqueduct.sock", "readings", "pricing", 5000, &c);
    size_t cap = s == AQD_OK ? aqd_max_payload(c) : 0;
    char *buf = malloc(cap + 1);
    unsigned unreleased = 0;
    while (buf && !aqd_is_end(s)) {
        aqd_record rec;
        s = aqd_next_wait(c, buf, cap, &rec, unreleased > 0 ? 0 : -1);
        if (s == AQD_OK) {
            printf("%llu %.*s\n", (unsigned long long)rec.seq, (int)rec.len, buf);
            unreleased++;
        } else if (aqd_is_damage(s)) {
            fprintf(stderr, "%s\n", aqd_strerror(s)); /* skipped and counted: read on */
        }
        if (unreleased == 64 || (unreleased > 0 && s != AQD_OK)) {
            fflush(stdout); /* first finish with the records, then let the ring reuse them: */
            aqd_release(c); /* in time, because a full ring waits, and before sleeping */
            unreleased = 0;
        }
    }
    fprintf(stderr, "%s: %s\n", aqd_strerror(s), aqd_message(c));
    aqd_close(c);
    free(buf);
    return s == AQD_CLOSED ? 0 : 1;
}
