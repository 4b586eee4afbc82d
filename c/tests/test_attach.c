/* Attaching to a fake listener: the bytes of the hello, refusals, every wrong answer, and nothing
 * left behind by any of them. */
#define _GNU_SOURCE 1
#include <dirent.h>
#include <time.h>

#include "fake_listener.h"

static int open_fds(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir)) {
        count++;
    }
    closedir(dir);
    return count;
}

/* Mappings of memfds or of the stand-in files. */
static int segment_mappings(void)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        count += strstr(line, "memfd:") != NULL || strstr(line, "aqueduct-test") != NULL;
    }
    fclose(maps);
    return count;
}

/* Opens against this listener; checks the status and that a failure leaves neither descriptors nor
 * mappings, even before the close. */
static aqd_client *attach(struct fake *f, aqd_status expected, int timeout_ms)
{
    fake_answer(f);
    int fds = open_fds();
    int maps = segment_mappings();
    aqd_client *c = NULL;
    CHECK_EQ(aqd_open(f->path, "demo", "tail", timeout_ms, &c), expected);
    fake_join(f);
    CHECK(c != NULL);
    fds += f->connection >= 0;
    if (expected != AQD_OK) {
        CHECK_EQ(open_fds(), fds);
        CHECK_EQ(segment_mappings(), maps);
        CHECK(aqd_message(c)[0] != '\0');
        CHECK_EQ(aqd_errno(c), 0); /* it is the listener that was wrong */
    } else {
        CHECK_EQ(open_fds(), fds + 3); /* socket, eventfd, epoll; the segments' descriptors are closed once they are mapped */
        CHECK_EQ(segment_mappings(), maps + 2);
        CHECK(aqd_message(c)[0] == '\0' && aqd_errno(c) == 0);
    }
    return c;
}

static void expect_failure(struct fake *f, aqd_status expected)
{
    aqd_close(attach(f, expected, 5000));
    fake_free(f);
}

static void an_honest_listener_is_attached_to_and_left_without_a_trace(void)
{
    int fds = open_fds(), maps = segment_mappings();
    struct fake f;
    fake_start(&f);
    aqd_client *c = attach(&f, AQD_OK, 5000);
    CHECK_EQ(aqd_get_info(c)->epoch, UINT64_C(0xFEEDFACECAFEBEEF));
    CHECK_EQ(aqd_get_info(c)->capacity, FAKE_CAPACITY);
    CHECK_EQ(aqd_get_info(c)->max_payload, (FAKE_CAPACITY / 2 - 1) * 32);
    CHECK(strcmp(aqd_get_info(c)->name, "demo") == 0);
    CHECK_EQ(fcntl(aqd_fd(c), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    aqd_close(c);
    fake_free(&f);
    CHECK_EQ(open_fds(), fds);
    CHECK_EQ(segment_mappings(), maps);
}

static void the_hello_is_as_the_specification_says(void)
{
    struct fake f;
    fake_start(&f);
    aqd_client *c = attach(&f, AQD_OK, 5000);
    unsigned char expected[144] = "AQDHELLO\1\0\2\0\1\0\0";
    memcpy(expected + 16, "demo", 4);
    memcpy(expected + 80, "tail", 4);
    CHECK_EQ(f.hello_len, 144);
    CHECK(memcmp(f.hello, expected, 144) == 0);
    aqd_close(c);
    fake_free(&f);
}

static void expect_argument(const char *path, const char *ring, const char *subscription, const char *message)
{
    aqd_client *c = NULL;
    int input = fcntl(0, F_GETFD); /* what was never opened is not closed */
    CHECK_EQ(aqd_open(path, ring, subscription, 0, &c), AQD_ERR_ARGUMENT);
    CHECK_EQ(fcntl(0, F_GETFD), input);
    CHECK(strcmp(aqd_message(c), message) == 0);
    CHECK_EQ(aqd_fd(c), -1);
    aqd_close(c);
}

static void names_may_fill_their_fields_or_be_left_out(void)
{
    char ring[AQD_RING_NAME_BYTES + 2] = "", subscription[AQD_SUBSCRIPTION_NAME_BYTES + 2] = "", path[200] = "";
    memset(ring, 'r', AQD_RING_NAME_BYTES);
    memset(subscription, 's', AQD_SUBSCRIPTION_NAME_BYTES);
    struct fake f;
    fake_start(&f);
    fake_answer(&f);
    aqd_client *c;
    CHECK_EQ(aqd_open(f.path, ring, subscription, 5000, &c), AQD_OK);
    fake_join(&f);
    CHECK(memcmp(f.hello + 16, ring, 64) == 0 && memcmp(f.hello + 80, subscription, 32) == 0 && f.hello[112] == 0);
    aqd_close(c);
    fake_free(&f);

    fake_start(&f);
    fake_answer(&f);
    CHECK_EQ(aqd_open(f.path, NULL, NULL, -1, &c), AQD_OK);
    fake_join(&f);
    CHECK(f.hello[16] == 0 && f.hello[80] == 0);
    aqd_close(c);
    fake_free(&f);

    ring[AQD_RING_NAME_BYTES] = 'r';
    subscription[AQD_SUBSCRIPTION_NAME_BYTES] = 's';
    memset(path, 'p', sizeof path - 1);
    expect_argument("/nowhere", ring, "", "ring has 65 bytes; it may have 64");
    expect_argument("/nowhere", "", subscription, "subscription has 33 bytes; it may have 32");
    expect_argument(path, "", "", "path has 199 bytes; it may have 107");
    expect_argument("", "", "", "path is empty");
    expect_argument(NULL, "", "", "path is NULL");
    CHECK_EQ(aqd_open("/nowhere", "", "", 0, NULL), AQD_ERR_ARGUMENT);
    CHECK_EQ(aqd_open_fds(-1, 0, 0, NULL), AQD_ERR_ARGUMENT);
    static const int wrong[][3] = {{-2, 1, 1}, {-1, 1, -2}, {-1, -1, 1}};
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(aqd_open_fds(wrong[i][0], wrong[i][1], wrong[i][2], &c), AQD_ERR_ARGUMENT);
        CHECK(strstr(aqd_message(c), "may be -1") != NULL);
        aqd_close(c);
    }
}

static void nobody_listening_is_a_system_error_with_a_message(void)
{
    aqd_client *c;
    CHECK_EQ(aqd_open("/tmp/aqueduct-test-nowhere", "", "", 100, &c), AQD_ERR_SYSTEM);
    CHECK(strcmp(aqd_message(c), "connect: No such file or directory") == 0);
    CHECK_EQ(aqd_errno(c), ENOENT);
    CHECK_EQ(aqd_fd(c), -1);
    aqd_close(c);
    CHECK_EQ(aqd_errno(NULL), 0);
}

static void a_socket_that_nobody_listens_at_is_told_by_its_errno(void)
{
    struct fake f;
    fake_start(&f);
    close(f.listening);
    aqd_client *c;
    CHECK_EQ(aqd_open(f.path, "", "", 100, &c), AQD_ERR_SYSTEM);
    errno = 0;
    CHECK_EQ(aqd_errno(c), ECONNREFUSED);
    aqd_close(c);
    unlink(f.path);
}

static void every_refusal_comes_with_its_number_and_words(void)
{
    for (uint32_t status = 1; status <= 9; status++) {
        struct fake f;
        fake_start(&f);
        f.welcome.status = status;
        f.n_fds = status == 9 ? 2 : 0; /* a refusal has no descriptors; if it has, they are closed */
        strcpy((char *)f.welcome.message, "busy since\n\x1b[31m noon");
        aqd_client *c = attach(&f, AQD_ERR_REFUSED, 5000);
        CHECK_EQ(aqd_refusal(c), status);
        CHECK(strcmp(aqd_message(c), "busy since??[31m noon") == 0);
        aqd_close(c);
        fake_free(&f);
    }
}

static void a_message_may_fill_its_field(void)
{
    struct fake f;
    fake_start(&f);
    f.welcome.status = AQD_WELCOME_BUSY;
    f.n_fds = 0;
    memset(f.welcome.message, 'm', sizeof f.welcome.message);
    aqd_client *c = attach(&f, AQD_ERR_REFUSED, 5000);
    CHECK_EQ(strlen(aqd_message(c)), AQD_MESSAGE_BYTES);
    aqd_close(c);
    fake_free(&f);
}

static void a_refusal_sent_without_reading_the_hello_arrives(void)
{
    struct fake f;
    fake_start(&f);
    f.answer_before_hello = true;
    f.welcome.status = AQD_WELCOME_NOT_PERMITTED;
    f.n_fds = 0;
    strcpy((char *)f.welcome.message, "not you");
    aqd_client *c = attach(&f, AQD_ERR_REFUSED, 5000);
    CHECK_EQ(aqd_refusal(c), AQD_WELCOME_NOT_PERMITTED);
    CHECK(strcmp(aqd_message(c), "not you") == 0);
    aqd_close(c);
    fake_free(&f);
}

static void another_major_is_refused(void)
{
    struct fake f;
    fake_start(&f);
    f.welcome.abi_major = 2;
    expect_failure(&f, AQD_ERR_VERSION);
    fake_start(&f);
    f.welcome.abi_minor = 7; /* another minor is not */
    aqd_close(attach(&f, AQD_OK, 5000));
    fake_free(&f);
}

static void a_short_long_or_garbled_welcome_is_refused(void)
{
    static const size_t lens[] = {1, 12, 127, 129, 200};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct fake f;
        fake_start(&f);
        f.welcome_len = lens[i];
        expect_failure(&f, AQD_ERR_PROTOCOL);
    }
    struct fake f;
    fake_start(&f);
    f.welcome.magic[3] ^= 1;
    expect_failure(&f, AQD_ERR_PROTOCOL);
}

static void any_number_of_descriptors_but_two_is_refused_and_closed(void)
{
    static const int counts[] = {0, 1, 3, 8, 9, 12};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct fake f;
        fake_start(&f);
        f.n_fds = counts[i];
        expect_failure(&f, AQD_ERR_PROTOCOL);
    }
}

static void a_segment_that_could_shrink_is_refused(void)
{
    struct fake f;
    fake_start(&f);
    f.ring_seals = F_SEAL_GROW;
    expect_failure(&f, AQD_ERR_NOT_SEALED);
    fake_start(&f);
    f.cursor_seals = F_SEAL_GROW;
    expect_failure(&f, AQD_ERR_NOT_SEALED);
    fake_start(&f);
    f.nothing_is_a_memfd = true;
    expect_failure(&f, AQD_ERR_NOT_SEALED);
}

static void sizes_that_the_segments_do_not_have_are_refused(void)
{
    static const uint64_t ring_bytes[] = {0, FAKE_RING_BYTES + 1, UINT64_MAX, FAKE_RING_BYTES - 1, 100};
    for (size_t i = 0; i < sizeof ring_bytes / sizeof *ring_bytes; i++) {
        struct fake f;
        fake_start(&f);
        f.welcome.ring_bytes = ring_bytes[i];
        expect_failure(&f, AQD_ERR_SIZE);
    }
    static const uint32_t cursor_bytes[] = {0, FAKE_CURSOR_BYTES + 1, UINT32_MAX, 255};
    for (size_t i = 0; i < sizeof cursor_bytes / sizeof *cursor_bytes; i++) {
        struct fake f;
        fake_start(&f);
        f.welcome.cursor_bytes = cursor_bytes[i];
        expect_failure(&f, AQD_ERR_SIZE);
    }
}

/* Opens segments of these sizes, in which a word of the ring's or of the cursor's header was
 * changed, sealed again by its checksum or not. */
static void expect_explained_of(size_t ring_bytes, size_t cursor_bytes, bool of_cursor, size_t at, uint32_t word, bool seal, aqd_status expected,
                                const char *message)
{
    struct fake f = {.epoch = 7};
    unsigned char *ring, *cursor;
    f.ring_fd = fake_segment(&f, "ring", FAKE_RING_BYTES, &ring);
    f.cursor_fd = fake_segment(&f, "cursor", FAKE_CURSOR_BYTES, &cursor);
    writer_format(&f.w, ring, cursor, FAKE_CAPACITY, FAKE_OFFSET, f.epoch, 0);
    aqd_put32((of_cursor ? cursor : ring) + at, word);
    if (seal) {
        writer_seal_header(ring);
        writer_seal_identity(cursor);
    }
    CHECK(ftruncate(f.ring_fd, (off_t)ring_bytes) == 0 && ftruncate(f.cursor_fd, (off_t)cursor_bytes) == 0);
    CHECK(fcntl(f.ring_fd, F_ADD_SEALS, FAKE_SEALS) == 0 && fcntl(f.cursor_fd, F_ADD_SEALS, FAKE_SEALS) == 0);
    aqd_client *c;
    CHECK_EQ(aqd_open_fds(-1, f.ring_fd, f.cursor_fd, &c), expected);
    if (strcmp(aqd_message(c), message) != 0) {
        printf("  %s\n", aqd_message(c));
        CHECK(false);
    }
    CHECK_EQ(aqd_errno(c), 0);
    CHECK_EQ(aqd_fd(c), -1);
    aqd_close(c);
    f.connection = f.listening = -1;
    fake_free(&f);
}

static void expect_explained(size_t at, uint32_t word, bool seal, aqd_status expected, const char *message)
{
    expect_explained_of(FAKE_RING_BYTES, FAKE_CURSOR_BYTES, false, at, word, seal, expected, message);
}

static void a_segment_that_is_too_short_is_explained(void)
{
    expect_explained_of(100, FAKE_CURSOR_BYTES, false, 44, 0, true, AQD_ERR_SIZE, "the ring segment has 100 bytes; its header claims 0");
    expect_explained_of(128, FAKE_CURSOR_BYTES, false, 44, 0, true, AQD_ERR_SIZE, "the ring segment has 128 bytes; its header claims 6144");
    expect_explained_of(FAKE_RING_BYTES, 255, false, 44, 0, true, AQD_ERR_SIZE, "the cursor segment has 255 bytes; the least is 256");
    expect_explained_of(FAKE_RING_BYTES, 256, true, 8, 3, true, AQD_ERR_VERSION, "the cursor segment is of ABI 3; this library reads ABI 1");
}

/* A descriptor that may only be written. */
static void a_segment_that_cannot_be_mapped_is_told(void)
{
    struct fake f = {.epoch = 7};
    unsigned char *ring, *cursor;
    f.ring_fd = fake_segment(&f, "ring", FAKE_RING_BYTES, &ring);
    f.cursor_fd = fake_segment(&f, "cursor", FAKE_CURSOR_BYTES, &cursor);
    writer_format(&f.w, ring, cursor, FAKE_CAPACITY, FAKE_OFFSET, f.epoch, 0);
    CHECK(fcntl(f.ring_fd, F_ADD_SEALS, FAKE_SEALS) == 0 && fcntl(f.cursor_fd, F_ADD_SEALS, FAKE_SEALS) == 0);
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", f.ring_fd);
    int written = open(path, O_WRONLY | O_CLOEXEC);
    aqd_client *c;
    CHECK_EQ(aqd_open_fds(-1, written, f.cursor_fd, &c), AQD_ERR_SYSTEM);
    CHECK(strcmp(aqd_message(c), "mmap: Permission denied") == 0);
    CHECK_EQ(aqd_errno(c), EACCES);
    aqd_close(c);
    close(written);
    f.connection = f.listening = -1;
    fake_free(&f);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* By the clock that the ring names; one that is private to the producer tells nothing here. */
static void the_lag_is_measured_by_the_clock_of_the_ring(void)
{
    static const uint64_t second = 1000000000;
    for (uint32_t clock_id = 0; clock_id < 4; clock_id++) {
        struct fake f = {.epoch = 7};
        unsigned char *ring, *cursor;
        f.ring_fd = fake_segment(&f, "ring", FAKE_RING_BYTES, &ring);
        f.cursor_fd = fake_segment(&f, "cursor", FAKE_CURSOR_BYTES, &cursor);
        writer_format(&f.w, ring, cursor, FAKE_CAPACITY, FAKE_OFFSET, f.epoch, 0);
        aqd_put32(ring + 40, clock_id);
        writer_seal_header(ring);
        bool is_public = clock_id == AQD_CLOCK_REALTIME || clock_id == AQD_CLOCK_MONOTONIC;
        uint64_t then = is_public ? now_ns(clock_id == AQD_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC) - 10 * second : 5;
        writer_raw(&f.w, AQD_KIND_DATA, 0, 0, then, "x", 1);
        f.w.seq = 1;
        writer_publish(&f.w);
        CHECK(fcntl(f.ring_fd, F_ADD_SEALS, FAKE_SEALS) == 0 && fcntl(f.cursor_fd, F_ADD_SEALS, FAKE_SEALS) == 0);
        aqd_client *c;
        CHECK_EQ(aqd_open_fds(-1, f.ring_fd, f.cursor_fd, &c), AQD_OK);
        aqd_lag lag;
        CHECK_EQ(aqd_measure_lag(c, &lag), AQD_OK);
        CHECK_EQ(lag.records, 1);
        CHECK(is_public ? lag.age_ns >= 10 * second && lag.age_ns < 1000 * second : lag.age_ns == 0);
        aqd_close(c);
        f.connection = f.listening = -1;
        fake_free(&f);
    }
}

static void a_ring_that_cannot_be_read_is_explained_by_field_and_value(void)
{
    expect_explained(8, 2, true, AQD_ERR_VERSION, "the ring segment is of ABI 2; this library reads ABI 1");
    expect_explained(32, 65, true, AQD_ERR_GEOMETRY,
                     "ABI 2.1 rules out this ring header: epoch 7, capacity 65 granules, max_payload 992, data_offset 4096 bytes");
    expect_explained(32, 128, true, AQD_ERR_SIZE, "the ring segment has 6144 bytes; its header claims 8192");
    expect_explained(AQD_RING_TAIL, 65, true, AQD_ERR_TAIL, "position 0 and tail 65 are not within 64 granules");
    expect_explained(0, 0, true, AQD_ERR_MAGIC, "not a ring");
    unsigned char h[128];
    struct writer w;
    static unsigned char ring[FAKE_RING_BYTES], cursor[FAKE_CURSOR_BYTES];
    writer_format(&w, ring, cursor, FAKE_CAPACITY, FAKE_OFFSET, 7, 0);
    memcpy(h, ring, sizeof h);
    uint32_t stored = aqd_get32(h + 124);
    aqd_put32(h + 48, 0x21);
    char expected[160];
    snprintf(expected, sizeof expected, "the ring header says checksum %08x; its bytes have %08x", (unsigned)stored, (unsigned)oracle_crc32(h, 124));
    expect_explained(48, 0x21, false, AQD_ERR_CHECKSUM, expected);
}

static void a_hang_up_in_the_handshake_is_told(void)
{
    struct fake f;
    fake_start(&f);
    f.hang_up_before_hello = true;
    expect_failure(&f, AQD_ERR_HANGUP);
    fake_start(&f);
    f.hang_up_after_hello = true;
    expect_failure(&f, AQD_ERR_HANGUP);
}

static void a_silent_listener_is_given_up_in_time(void)
{
    struct fake f;
    fake_start(&f);
    f.silent = true;
    aqd_close(attach(&f, AQD_ERR_TIMEOUT, 30));
    fake_free(&f);
}

static void a_full_backlog_is_given_up_in_time(void)
{
    struct fake f;
    fake_start(&f);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, f.path);
    int others[8], n = 0;
    for (; n < 8; n++) {
        others[n] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(others[n], (struct sockaddr *)&address, sizeof address) != 0) {
            break;
        }
    }
    aqd_client *c;
    CHECK_EQ(aqd_open(f.path, "", "", 30, &c), AQD_ERR_TIMEOUT);
    aqd_close(c);
    CHECK_EQ(aqd_open(f.path, "", "", 0, &c), AQD_ERR_TIMEOUT);
    aqd_close(c);
    for (int i = 0; i <= n && i < 8; i++) {
        close(others[i]);
    }
    close(f.listening);
    unlink(f.path);
}

int main(void)
{
    RUN(an_honest_listener_is_attached_to_and_left_without_a_trace);
    RUN(the_hello_is_as_the_specification_says);
    RUN(names_may_fill_their_fields_or_be_left_out);
    RUN(nobody_listening_is_a_system_error_with_a_message);
    RUN(a_socket_that_nobody_listens_at_is_told_by_its_errno);
    RUN(every_refusal_comes_with_its_number_and_words);
    RUN(a_message_may_fill_its_field);
    RUN(a_refusal_sent_without_reading_the_hello_arrives);
    RUN(another_major_is_refused);
    RUN(a_short_long_or_garbled_welcome_is_refused);
    RUN(any_number_of_descriptors_but_two_is_refused_and_closed);
    RUN(a_segment_that_could_shrink_is_refused);
    RUN(sizes_that_the_segments_do_not_have_are_refused);
    RUN(a_ring_that_cannot_be_read_is_explained_by_field_and_value);
    RUN(the_lag_is_measured_by_the_clock_of_the_ring);
    RUN(a_segment_that_is_too_short_is_explained);
    RUN(a_segment_that_cannot_be_mapped_is_told);
    RUN(a_hang_up_in_the_handshake_is_told);
    RUN(a_silent_listener_is_given_up_in_time);
    RUN(a_full_backlog_is_given_up_in_time);
    return finish_tests();
}
