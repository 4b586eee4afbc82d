/* The attributes of a record: named values that came with it, such as an HTTP header, the path, the
 * peer's address or an MQTT topic, if the listener is configured to keep them (ABI 3.1).
 *
 * They lie after the payload, in the buffer into which a record was copied or where it was viewed.
 * So every function takes the record and the payload that one call delivered together. Nothing is
 * trusted: whatever the bytes are, and even if those of a viewed record change meanwhile, no
 * function reads past the record or loops forever. None of them blocks, allocates or writes to the
 * record. */
#ifndef AQUEDUCT_ATTRIBUTES_H
#define AQUEDUCT_ATTRIBUTES_H

#include "reader.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Names with a fixed meaning. Those with a colon in front are the listener's own words: nothing
 * that a client sends gets such a name. */
#define AQD_ATTRIBUTE_PATH ":path"                /* path of the request, as it was sent */
#define AQD_ATTRIBUTE_PEER ":peer"                /* address of the peer */
#define AQD_ATTRIBUTE_TOPIC ":topic"              /* topic of an MQTT message */
#define AQD_ATTRIBUTE_CONTENT_TYPE "content-type" /* media type of the payload */
#define AQD_ATTRIBUTE_TRACEPARENT "traceparent"   /* W3C trace context */
#define AQD_ATTRIBUTE_USER "user:"                /* begins the name of an MQTT user property */

/* A named value. Neither name nor value ends with a zero byte. The name is text; the value may be
 * any bytes. */
typedef struct aqd_named_value {
    const void *name;
    const void *value;
    uint32_t name_bytes; /* 1..255 */
    uint32_t value_bytes;
} aqd_named_value;

/* Finds the first attribute called name, which ends with a zero byte. Returns its value, *bytes
 * long, valid as long as the payload is; NULL if there is none, and *bytes is 0 then. bytes may be
 * NULL. */
const void *aqd_attribute(const aqd_record *rec, const void *payload, const char *name, uint32_t *bytes);

/* Walks the attributes in their order. Set *at to 0 before the first call, and leave it alone
 * between calls. Returns true and fills in *attribute; false, and leaves it unchanged, if there is
 * none left or the next one is damaged. */
bool aqd_next_attribute(const aqd_record *rec, const void *payload, uint32_t *at, aqd_named_value *attribute);

/* Returns how many bytes the record takes in a buffer, payload and attributes, after any call that
 * describes it: also after a peek, a skip or AQD_ERR_SPACE. */
size_t aqd_record_bytes(const aqd_record *rec);

#ifdef __cplusplus
}
#endif

#endif
