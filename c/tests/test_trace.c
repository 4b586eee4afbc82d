/* The trace context of records: what is one, what is none, and that a written one is read again. */
#include <string.h>

#include "aqueduct/trace.h"
#include "check.h"

#define EXAMPLE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

/* Makes a record of no payload and one attribute, as ABI 3.1 has it, in *block. */
static aqd_record attributed(unsigned char block[512], const char *name, const char *value)
{
    aqd_record rec = {0};
    const size_t names = strlen(name), values = strlen(value), used = 4 + 3 + names + values;
    memset(block, 0, 512);
    block[0] = (unsigned char)used;
    block[2] = 1;
    block[4] = (unsigned char)names;
    block[5] = (unsigned char)values;
    memcpy(block + 7, name, names);
    memcpy(block + 7 + names, value, values);
    rec.attribute_units = (uint8_t)((used + 15) / 16);
    return rec;
}

static bool parses(const char *name, const char *value, aqd_trace *trace)
{
    unsigned char block[512];
    aqd_record rec = attributed(block, name, value);
    return aqd_traceparent(&rec, block, trace);
}

static void the_example_of_w3c_is_read_and_handed_on(void)
{
    aqd_trace trace;
    CHECK(parses("traceparent", EXAMPLE, &trace));
    CHECK(trace.trace_id[0] == 0x4b && trace.trace_id[15] == 0x36);
    CHECK(trace.parent_id[0] == 0 && trace.parent_id[7] == 0xb7);
    CHECK_EQ(trace.flags, AQD_TRACE_SAMPLED);
    char text[AQD_TRACEPARENT_BYTES + 1];
    aqd_format_traceparent(&trace, trace.parent_id, text);
    CHECK(strcmp(text, EXAMPLE) == 0);
    const uint8_t own[8] = {1, 2, 3, 4, 5, 6, 7, 0xff};
    aqd_format_traceparent(&trace, own, text);
    CHECK(strcmp(text, "00-4bf92f3577b34da6a3ce929d0e0e4736-01020304050607ff-01") == 0);
    CHECK(parses("user:traceparent", EXAMPLE, &trace));
    CHECK(parses("traceparent", "cc" "-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more", &trace));
    CHECK_EQ(trace.flags, 0);
}

static void what_is_no_trace_context_leaves_the_caller_s_alone(void)
{
    static const char *const BAD[] = {
        "", "00", EXAMPLE "-more", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        aqd_trace trace, before;
        memset(&trace, 0xee, sizeof trace);
        before = trace;
        CHECK(!parses("traceparent", BAD[i], &trace));
        CHECK(memcmp(&trace, &before, sizeof trace) == 0);
    }
    aqd_trace trace;
    const aqd_record plain = {0};
    CHECK(!aqd_traceparent(&plain, "", &trace));
    CHECK(!parses("tracestate", EXAMPLE, &trace));
}

int main(void)
{
    RUN(the_example_of_w3c_is_read_and_handed_on);
    RUN(what_is_no_trace_context_leaves_the_caller_s_alone);
    return finish_tests();
}
