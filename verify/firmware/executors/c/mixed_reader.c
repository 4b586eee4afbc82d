/* The reader of the firmware in three languages: takes every record and checks each byte of it. */
#include <aqueduct/reader.h>

int mixed_attach(const void *ring, size_t ring_bytes, void *cursor, size_t cursor_bytes);
int mixed_read(void);

static aqd_reader reader;
static uint32_t number;

/* AQD_OK or what the library says. */
int mixed_attach(const void *ring, size_t ring_bytes, void *cursor, size_t cursor_bytes)
{
    return (int)aqd_reader_init(&reader, ring, ring_bytes, cursor, cursor_bytes);
}

/* The records that were there, now released; negative: what the library says of one, or -1000 for
 * one whose content is wrong. */
int mixed_read(void)
{
    static unsigned char buf[96];
    aqd_record record;
    int records = 0;
    for (;;) {
        aqd_status status = aqd_reader_next(&reader, buf, sizeof buf, &record);
        if (status == AQD_EMPTY) {
            break;
        }
        if (status != AQD_OK) {
            return -(int)status;
        }
        if (record.seq != number || record.timestamp_ns != number || record.type_tag != 7 ||
            record.len != number % 90) {
            return -1000;
        }
        for (uint32_t i = 0; i < record.len; i++) {
            if (buf[i] != (unsigned char)(number + i)) {
                return -1000;
            }
        }
        number++;
        records++;
    }
    (void)aqd_reader_release(&reader); /* nobody waits for space */
    return records;
}
