/* Prints records as they come, one a line: seq, type, len, payload.
 * Run: build/tail /run/aqueduct.sock demo audit
 * Expect: 0 7 15 hello, aqueduct */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "aqueduct/client.h"

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s SOCKET RING SUBSCRIPTION\n", argv[0]);
        return 2;
    }
    aqd_client *c;
    aqd_status status = aqd_open(argv[1], argv[2], argv[3], 5000, &c);
    if (status != AQD_OK) {
        fprintf(stderr, "%s: %s\n", aqd_strerror(status), aqd_message(c));
        aqd_close(c);
        return 1;
    }
    size_t cap = aqd_info(c)->max_payload;
    char *buf = malloc(cap + 1);
    aqd_record rec;
    while (buf && (status = aqd_next(c, buf, cap, &rec)) != AQD_CLOSED && status != AQD_LOST && status != AQD_ERR_OVERRUN) {
        if (status == AQD_OK) {
            printf("%" PRIu64 " %u %" PRIu32 " %.*s\n", rec.seq, rec.type, rec.len, (int)rec.len, buf);
        } else if (status == AQD_EMPTY) {
            fflush(stdout);
            aqd_release(c); /* what is printed is done */
            aqd_wait(c, -1);
        } else {
            fprintf(stderr, "%s\n", aqd_strerror(status)); /* damage: it was skipped and counted */
        }
    }
    fflush(stdout);
    aqd_release(c);
    fprintf(stderr, "%s\n", aqd_strerror(status));
    free(buf);
    aqd_close(c);
    return status == AQD_CLOSED ? 0 : 3;
}
