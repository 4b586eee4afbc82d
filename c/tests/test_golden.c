/* The golden images that the Rust side wrote and reads too: both must see the same records. Run
 * from the folder of the Makefile, or with the folder of the images as argument. */
#include "aqueduct/attributes.h"
#include "fixture.h"

static const char *folder = "../core/tests/golden";

/* Reads a whole file into memory aligned as a segment. */
static void *slurp(const char *name, size_t *bytes)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        abort();
    }
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    void *memory = aligned_alloc(64, (*bytes + 64) / 64 * 64);
    if (!memory || fread(memory, 1, *bytes, file) != *bytes) {
        abort();
    }
    fclose(file);
    return memory;
}

static void read_image(const char *ring_name, const char *cursor_name, const char *expected_name)
{
    size_t ring_bytes, cursor_bytes, expected_bytes;
    void *ring = slurp(ring_name, &ring_bytes), *cursor = slurp(cursor_name, &cursor_bytes);
    char *expected = slurp(expected_name, &expected_bytes);
    aqd_reader r;
    CHECK_EQ(aqd_reader_init(&r, ring, ring_bytes, cursor, cursor_bytes), AQD_OK);
    char *got = calloc(1, expected_bytes + 4096), *end = got;
    unsigned char buf[1024];
    aqd_record rec;
    aqd_status status = AQD_OK;
    while (got && (size_t)(end - got) <= expected_bytes && (status = aqd_reader_next(&r, buf, sizeof buf, &rec)) == AQD_OK) {
        end += sprintf(end, "%llu %u %u %llu ", (unsigned long long)rec.seq, rec.type_tag, (unsigned)rec.len, (unsigned long long)rec.timestamp_ns);
        for (uint32_t i = 0; i < rec.len; i++) {
            end += sprintf(end, "%02x", buf[i]);
        }
        end += sprintf(end, "%s", rec.len == 0 ? "-" : "");
        aqd_named_value one;
        for (uint32_t at = 0; aqd_next_attribute(&rec, buf, &at, &one);) {
            end += sprintf(end, " %.*s=", (int)one.name_bytes, (const char *)one.name);
            for (uint32_t i = 0; i < one.value_bytes; i++) {
                end += sprintf(end, "%02x", ((const unsigned char *)one.value)[i]);
            }
        }
        *end++ = '\n';
    }
    CHECK_EQ(status, AQD_EMPTY);
    CHECK_EQ(end - got, expected_bytes);
    CHECK((size_t)(end - got) == expected_bytes && memcmp(got, expected, expected_bytes) == 0);
    CHECK_EQ(aqd_reader_get_stats(&r)->corrupt, 0);
    free(got);
    free(expected);
    free(ring);
    free(cursor);
}

static void the_basic_image_reads_as_its_expectation_says(void) { read_image("basic.ring", "basic.cursor", "basic.expected"); }

static void the_image_with_attributes_reads_as_its_expectation_says(void)
{
    read_image("attributes.ring", "attributes.cursor", "attributes.expected");
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        folder = argv[1];
    }
    RUN(the_basic_image_reads_as_its_expectation_says);
    RUN(the_image_with_attributes_reads_as_its_expectation_says);
    return finish_tests();
}
