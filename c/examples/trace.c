/* Continues traces: for each record whose request was traced, a span of this program, as a line of
 * OTLP in JSON, which a collector takes from a file or by HTTP.
 * Run: build/trace /run/aqueduct.sock demo audit
 * Send: printf 'hello, aqueduct' | curl --data-binary @-
 * -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
 * http://127.0.0.1:8080/v1/rings/demo/records
 * Expect: {"resourceSpans":[...]} on stdout, and on stderr what to hand on:
 * 0 00-4bf92f3577b34da6a3ce929d0e0e4736-(16 digits)-01
 * The listener needs AQUEDUCT_HTTP_ATTRIBUTES='["traceparent"]', or the same in its file.
 * Ends with 0 when the listener closes the ring, 3 if it dies. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "aqueduct/client.h"
#include "aqueduct/trace.h"

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Two digits for each byte, and a zero byte. */
static const char *hex(const uint8_t *bytes, size_t n, char *text)
{
    for (size_t i = 0; i < n; i++) {
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
    return text;
}

/* What this program does with a record; here, nothing that takes time. */
static void process(const aqd_record *rec, const void *payload)
{
    (void)rec;
    (void)payload;
}

/* A child of the span that the record comes from: kind 5 is a consumer's. */
static void tell(const aqd_trace *trace, const uint8_t span_id[8], const char *ring, uint64_t seq, uint64_t start_ns, uint64_t end_ns)
{
    char trace_id[33], parent[17], span[17];
    printf("{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"trace-example\"}}]},"
           "\"scopeSpans\":[{\"spans\":[{\"traceId\":\"%s\",\"spanId\":\"%s\",\"parentSpanId\":\"%s\",\"name\":\"process %s\",\"kind\":5,"
           "\"startTimeUnixNano\":\"%" PRIu64 "\",\"endTimeUnixNano\":\"%" PRIu64 "\",\"attributes\":["
           "{\"key\":\"aqueduct.seq\",\"value\":{\"intValue\":\"%" PRIu64 "\"}}]}]}]}]}\n",
           hex(trace->trace_id, 16, trace_id), hex(span_id, 8, span), hex(trace->parent_id, 8, parent), ring, start_ns, end_ns, seq);
    fflush(stdout);
    char next[AQD_TRACEPARENT_BYTES + 1];
    aqd_format_traceparent(trace, span_id, next);
    fprintf(stderr, "%" PRIu64 " %s\n", seq, next);
}

static aqd_status run(aqd_client *c, const char *ring, void *buf, size_t cap)
{
    for (;;) {
        aqd_record rec;
        aqd_status status = aqd_next(c, buf, cap, &rec);
        switch (status) {
        case AQD_OK: break;
        case AQD_EMPTY: aqd_wait(c, -1); continue;
        case AQD_CLOSED: case AQD_LOST: case AQD_ERR_TAIL: return status;
        default: fprintf(stderr, "%s\n", aqd_strerror(status)); continue; /* damage: it was skipped and counted */
        }
        aqd_trace trace;
        uint8_t span_id[8];
        const uint64_t start_ns = now_ns();
        process(&rec, buf);
        /* Who sent the request has decided whether its trace is recorded. */
        if (aqd_traceparent(&rec, buf, &trace) && trace.flags & AQD_TRACE_SAMPLED && getrandom(span_id, sizeof span_id, 0) == sizeof span_id) {
            tell(&trace, span_id, ring, rec.seq, start_ns, now_ns());
        }
        aqd_release(c);
    }
}

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
    size_t cap = aqd_get_info(c)->max_payload;
    void *buf = malloc(cap);
    if (buf) {
        status = run(c, argv[2], buf, cap);
        fprintf(stderr, "%s\n", aqd_strerror(status));
    }
    free(buf);
    aqd_close(c);
    return status == AQD_CLOSED ? 0 : status == AQD_LOST ? 3 : 1;
}
