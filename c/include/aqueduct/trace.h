/* The W3C trace context of a record, so that a program continues the trace of the request that the
 * record came with. Header only: it needs nothing of the library but aqd_attribute, and a
 * program that does not include it carries nothing of it.
 *
 * The listener keeps the context if its address lists "traceparent" among its attributes. A
 * listener that sends its spans to a collector has put its own span into it, which ended when the
 * record was published: a span of this program is a child of that one. */
#ifndef AQUEDUCT_TRACE_H
#define AQUEDUCT_TRACE_H

#include "attributes.h"

#ifdef __cplusplus
extern "C" {
#endif

#define AQD_TRACEPARENT_BYTES 55 /* of its text, version 00 */
#define AQD_TRACE_SAMPLED 1      /* in flags: the trace is recorded, so record your span, too */

/* Where a record comes from. */
typedef struct aqd_trace {
    uint8_t trace_id[16]; /* of the whole trace; not all zero */
    uint8_t parent_id[8]; /* the span that the record comes from; not all zero */
    uint8_t flags;        /* AQD_TRACE_SAMPLED; other bits are to be handed on as they are */
} aqd_trace;

#ifdef __cplusplus
#define AQD_TRACE_TEXT(found) static_cast<const unsigned char *>(found)
#else
#define AQD_TRACE_TEXT(found) ((const unsigned char *)(found))
#endif

/* Reads the trace context of a record: its attribute "traceparent", or "user:traceparent", which an
 * MQTT client sets. rec and payload as for aqd_attribute. Returns true and fills in *trace; false,
 * and leaves it unchanged, if the record has none or one that is malformed, which W3C says to
 * ignore. Never blocks. */
static inline bool aqd_traceparent(const aqd_record *rec, const void *payload, aqd_trace *trace)
{
    uint8_t known[26];
    uint32_t bytes, at = 0, any_trace = 0, any_parent = 0;
    const unsigned char *value = AQD_TRACE_TEXT(aqd_attribute(rec, payload, AQD_ATTRIBUTE_TRACEPARENT, &bytes));
    if (!value) {
        value = AQD_TRACE_TEXT(aqd_attribute(rec, payload, AQD_ATTRIBUTE_USER AQD_ATTRIBUTE_TRACEPARENT, &bytes));
    }
    if (!value || bytes < AQD_TRACEPARENT_BYTES) {
        return false;
    }
    /* 00-TRACE-PARENT-FLAGS: 26 bytes in hexadecimal digits. Each digit is loaded once, because a
     * record viewed in place may change. */
    for (uint32_t i = 0; i < sizeof known; i++) {
        uint32_t byte = 0;
        if (i == 1 || i == 17 || i == 25) {
            if (value[at++] != '-') {
                return false;
            }
        }
        for (int digit = 0; digit < 2; digit++) {
            const uint32_t c = value[at++];
            if (c >= '0' && c <= '9') {
                byte = byte * 16 + (c - '0');
            } else if (c >= 'a' && c <= 'f') {
                byte = byte * 16 + (c - 'a') + 10;
            } else {
                return false;
            }
        }
        known[i] = byte & 255;
        any_trace |= i >= 1 && i < 17 ? byte : 0;
        any_parent |= i >= 17 && i < 25 ? byte : 0;
    }
    /* A later version may have more at the end, after a dash; 255 is none. */
    if (known[0] == 255 || (bytes > AQD_TRACEPARENT_BYTES && (known[0] == 0 || value[at] != '-')) || !any_trace || !any_parent) {
        return false;
    }
    for (uint32_t i = 0; i < 16; i++) {
        trace->trace_id[i] = known[1 + i];
    }
    for (uint32_t i = 0; i < 8; i++) {
        trace->parent_id[i] = known[17 + i];
    }
    trace->flags = known[25];
    return true;
}

/* Writes the traceparent that this program hands on, for example in the head of a request of its
 * own, and ends it with a zero byte: the trace of the record, from the span span_id, which is not
 * all zero. */
static inline void aqd_format_traceparent(const aqd_trace *trace, const uint8_t span_id[8], char text[AQD_TRACEPARENT_BYTES + 1])
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < 26; i++) {
        const uint32_t byte = i == 0 ? 0 : i < 17 ? trace->trace_id[i - 1] : i < 25 ? span_id[i - 17] : trace->flags;
        if (i == 1 || i == 17 || i == 25) {
            text[at++] = '-';
        }
        text[at++] = "0123456789abcdef"[byte / 16];
        text[at++] = "0123456789abcdef"[byte % 16];
    }
    text[at] = 0;
}

#undef AQD_TRACE_TEXT

#ifdef __cplusplus
}
#endif

#endif
