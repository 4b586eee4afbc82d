/* A ring in memory that two cores share, or an interrupt handler and the main loop: no operating
 * system, no libc, no heap. On the microcontroller it is linked with the freestanding sources or
 * with the amalgamation, and with -DAQD_CRC_SMALL takes 2 to 3 KiB: see README.md. The producer on
 * the other side is aqueduct-core, which is no_std, too. On a PC the same consume() reads an image
 * of such memory. Run: build/microcontroller ../core/tests/golden/basic.ring
 * ../core/tests/golden/basic.cursor Expect: 6 records, 0 damaged, 0 lost */
#include "aqueduct/reader.h"

/* What this firmware does with a record: it counts, for a debugger to see. */
struct {
    uint32_t records;
    uint32_t bytes;
    uint32_t damaged;
} seen;

static void handle(const aqd_record *rec, const void *payload)
{
    (void)payload; /* rec->len bytes, checked */
    seen.records++;
    seen.bytes += rec->len;
}

/* Reads what is there and gives it back; never blocks. True: the producer waits for space, so ring
 * its doorbell. The size of buf bounds the stack and RAM: with less than max_payload, records that
 * are too large are skipped and counted as damaged. */
static bool consume(aqd_reader *reader, void *buf, size_t cap)
{
    aqd_record rec;
    for (;;) {
        switch (aqd_reader_next(reader, buf, cap, &rec)) {
        case AQD_OK: handle(&rec, buf); break;
        case AQD_ERR_SPACE: aqd_reader_skip(reader, &rec); seen.damaged++; break;
        case AQD_ERR_HEADER: case AQD_ERR_PAYLOAD: seen.damaged++; break;
        case AQD_ERR_GAP: break; /* the stats count it */
        default: return aqd_reader_release(reader); /* nothing more, closed, or the tail is out of range */
        }
    }
}

#if __STDC_HOSTED__

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void *load(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    void *memory = aligned_alloc(AQD_SEGMENT_ALIGN_BYTES, 1 << 20);
    if (!file || !memory) {
        perror(path);
        exit(1);
    }
    *bytes = fread(memory, 1, 1 << 20, file);
    fclose(file);
    return memory;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s RING CURSOR\n", argv[0]);
        return 2;
    }
    size_t ring_bytes, cursor_bytes;
    void *ring = load(argv[1], &ring_bytes), *cursor = load(argv[2], &cursor_bytes);
    aqd_reader reader;
    aqd_status status = aqd_reader_init(&reader, ring, ring_bytes, cursor, cursor_bytes);
    static unsigned char buf[4096];
    if (status == AQD_OK) {
        consume(&reader, buf, sizeof buf);
        printf("%" PRIu32 " records, %" PRIu32 " damaged, %" PRIu32 " lost\n", seen.records, seen.damaged, aqd_reader_get_stats(&reader)->lost);
    } else {
        fprintf(stderr, "not a ring: status %d\n", (int)status);
    }
    free(ring);
    free(cursor);
    return status != AQD_OK;
}

#else

/* Where the producer puts them; a linker script places .shared in memory that both cores see,
 * uncached. Until it has written the magic, which it does last, aqd_reader_init refuses. */
#define RING_BYTES (256 + 128 * AQD_GRANULE_BYTES)
__attribute__((section(".shared"), aligned(AQD_SEGMENT_ALIGN_BYTES))) unsigned char shared_ring[RING_BYTES];
__attribute__((section(".shared"), aligned(AQD_SEGMENT_ALIGN_BYTES))) unsigned char shared_cursor[AQD_CURSOR_BYTES_MIN];

/* The board's: tells the other core, and sleeps until an interrupt. */
void board_ring_doorbell(void);
void board_sleep(void);

int main(void)
{
    static aqd_reader reader;
    static unsigned char buf[256];
    while (aqd_reader_init(&reader, shared_ring, sizeof shared_ring, shared_cursor, sizeof shared_cursor) != AQD_OK) {
        board_sleep();
    }
    for (;;) {
        if (consume(&reader, buf, sizeof buf)) {
            board_ring_doorbell();
        }
        if (!aqd_reader_ready(&reader)) {
            board_sleep(); /* the producer's interrupt ends it, also one that came just before */
        }
    }
}

#endif
