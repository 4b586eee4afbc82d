/* Attributes of a record (ABI 3.1). Contracts: aqueduct/attributes.h. A record viewed in place lies
 * in shared bytes, which may change between two loads: each length is loaded once, and what was
 * compared with the bounds is what is used. */
#include "compiler.h"

#include "aqueduct/attributes.h"
#include "extent.h"
#include "load.h"

/* Before the first entry: the bytes in use and the number of entries; before the name of an entry:
 * its length and that of the value. */
enum { BLOCK_HEAD_BYTES = 4, BLOCK_ENTRY_BYTES = 3 };

/*@ predicate aqd_carries(aqd_record *rec, unsigned char *payload) = \valid_read(rec)
        && rec->len + rec->attribute_units * AQD_ATTRIBUTES_UNIT_BYTES <= UINT32_MAX
        && \valid_read(payload + (0 .. rec->len + rec->attribute_units * AQD_ATTRIBUTES_UNIT_BYTES - 1)); */

/* A little-endian number of two bytes, each loaded once. */
/*@ requires \valid_read(from + (0 .. 1));
    assigns \nothing; exits \false; */
static uint16_t load16(const unsigned char *from) { return (uint16_t)(aqd_load_byte(from) | (uint32_t)aqd_load_byte(from + 1) << 8); }

/* The walk's state is the index of the next entry, and below it where it begins in the block. */
/*@ requires aqd_carries(rec, (unsigned char *)payload) && \valid(at) && \valid(attribute);
    requires \separated(attribute, at, rec, (unsigned char *)payload + (0 .. rec->len + rec->attribute_units * AQD_ATTRIBUTES_UNIT_BYTES - 1));
    assigns *at, *attribute; exits \false;
    ensures \result ==> 1 <= attribute->name_bytes <= 255;
    ensures \result ==> \valid_read((unsigned char *)attribute->name + (0 .. attribute->name_bytes - 1));
    ensures \result ==> \valid_read((unsigned char *)attribute->value + (0 .. attribute->value_bytes - 1));
    ensures \result ==> \old(*at) / 0x10000 < *at / 0x10000; */
bool aqd_next_attribute(const aqd_record *rec, const void *payload, uint32_t *at, aqd_named_value *attribute)
{
    uint32_t bytes = (uint32_t)rec->attribute_units * AQD_ATTRIBUTES_UNIT_BYTES;
    if (bytes == 0) {
        return false;
    }
    const unsigned char *block = (const unsigned char *)payload + rec->len;
    uint32_t used = load16(block), count = load16(block + 2);
    uint32_t index = *at / 0x10000, from = *at % 0x10000;
    if (from < BLOCK_HEAD_BYTES) {
        from = BLOCK_HEAD_BYTES;
    }
    if (index >= count || used > bytes || used < from || used - from < BLOCK_ENTRY_BYTES) {
        return false;
    }
    uint32_t name_bytes = aqd_load_byte(block + from), value_bytes = load16(block + from + 1);
    uint32_t rest = used - from - BLOCK_ENTRY_BYTES;
    if (name_bytes == 0 || name_bytes > rest || value_bytes > rest - name_bytes) {
        return false;
    }
    from += BLOCK_ENTRY_BYTES;
    attribute->name = block + from;
    attribute->value = block + from + name_bytes;
    attribute->name_bytes = name_bytes;
    attribute->value_bytes = value_bytes;
    *at = (index + 1) * 0x10000 + from + name_bytes + value_bytes;
    return true;
}

/* Whether this is the name, which ends with a zero byte. */
/*@ predicate aqd_is_string(char *text) = \exists integer n; 0 <= n && text[n] == 0 && \valid_read(text + (0 .. n)); */

/*@ requires \valid_read(name + (0 .. bytes - 1)) && aqd_is_string((char *)wanted) && bytes <= 255;
    assigns \nothing; exits \false; */
static bool attribute_is_named(const unsigned char *name, uint32_t bytes, const char *wanted)
{
    uint32_t i = 0;
    /*@ loop invariant i <= bytes && \forall integer k; 0 <= k < i ==> wanted[k] != 0;
        loop assigns i;
        loop variant bytes - i; */
    while (i < bytes && wanted[i] != 0 && (unsigned char)wanted[i] == aqd_load_byte(name + i)) {
        i++;
    }
    return i == bytes && wanted[i] == 0;
}

/*@ requires aqd_carries(rec, (unsigned char *)payload) && aqd_is_string((char *)name) && (bytes == \null || \valid(bytes));
    requires \separated(bytes, rec, (unsigned char *)payload + (0 .. rec->len + rec->attribute_units * AQD_ATTRIBUTES_UNIT_BYTES - 1));
    assigns *bytes; exits \false;
    ensures bytes != \null && \result != \null ==> \valid_read((unsigned char *)\result + (0 .. *bytes - 1)); */
const void *aqd_attribute(const aqd_record *rec, const void *payload, const char *name, uint32_t *bytes)
{
    aqd_named_value found;
    uint32_t at = 0;
    /*@ loop invariant \true;
        loop assigns at, found;
        loop variant 0x10000 - at / 0x10000; */
    while (aqd_next_attribute(rec, payload, &at, &found)) {
        if (attribute_is_named((const unsigned char *)found.name, found.name_bytes, name)) {
            if (bytes) {
                *bytes = found.value_bytes;
            }
            return found.value;
        }
    }
    if (bytes) {
        *bytes = 0;
    }
    return NULL;
}

/*@ requires \valid_read(rec);
    assigns \nothing; exits \false;
    ensures aqd_total(rec) <= UINT32_MAX ==> \result == aqd_total(rec); */
size_t aqd_record_bytes(const aqd_record *rec) { return aqd_extent(rec); }
