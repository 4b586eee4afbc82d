/* Contracts: attach.h.
 *
 * The segments' descriptors live in this file only, as locals that every path closes; what outlasts
 * it are the socket and the mappings, which aqd_disconnect and aqd_unmap undo in whatever state
 * they find them. */
#include "../compiler.h"

#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../bytes.h"
#include "../crc32/crc32.h"
#include "../load.h"
#include "connection.h"
#include "failure.h"

/* What a WELCOME granted. */
struct granted {
    uint64_t ring_bytes;
    uint32_t cursor_bytes;
    const int *fds; /* the ring's and, unless an observer's, the cursor segment's */
};

void aqd_unmap(struct aqd_segments *segments)
{
    if (segments->cursor) {
        munmap(segments->cursor, segments->cursor_bytes);
    }
    if (segments->ring) {
        munmap(segments->ring, segments->ring_bytes);
    }
    *segments = (struct aqd_segments){0};
}

static aqd_status say_hello(aqd_client *c)
{
    unsigned char hello[sizeof(struct aqd_abi_hello)] = {0};
    memcpy(hello, AQD_HELLO_MAGIC, AQD_MAGIC_BYTES);
    aqd_put16(hello + offsetof(struct aqd_abi_hello, abi_major), AQD_ABI_MAJOR);
    aqd_put16(hello + offsetof(struct aqd_abi_hello, abi_minor), AQD_PACKET_MINOR);
    aqd_put32(hello + offsetof(struct aqd_abi_hello, kind), c->kind);
    memcpy(hello + offsetof(struct aqd_abi_hello, ring), c->ring_name, strlen(c->ring_name));
    memcpy(hello + offsetof(struct aqd_abi_hello, subscription), c->subscription, strlen(c->subscription));
    return aqd_send_packet(c, hello, sizeof hello);
}

/* The listener's words go to terminals and logs: no control bytes in them. */
static void keep_message(aqd_client *c, const unsigned char *message)
{
    size_t i = 0;
    for (; i < AQD_MESSAGE_BYTES && message[i] != 0; i++) {
        c->message[i] = message[i] < 0x20 || message[i] == 0x7F ? '?' : (char)message[i];
    }
    c->message[i] = '\0';
    c->error_number = 0;
}

static aqd_status hear_welcome(aqd_client *c, int64_t deadline_ms, struct aqd_packet *packet, struct granted *granted)
{
    unsigned char w[sizeof(struct aqd_abi_welcome)] = {0};
    aqd_status status = aqd_receive(c, w, sizeof w, deadline_ms, packet);
    if (status != AQD_OK) {
        return status;
    }
    if (packet->len != sizeof w || packet->cut || memcmp(w, AQD_WELCOME_MAGIC, AQD_MAGIC_BYTES) != 0) {
        return aqd_fail(c, AQD_ERR_PROTOCOL, "the answer of %zu bytes is not a welcome", packet->len);
    }
    uint16_t major = aqd_get16(w + offsetof(struct aqd_abi_welcome, abi_major));
    if (major != AQD_ABI_MAJOR) {
        return aqd_fail(c, AQD_ERR_VERSION, "the listener speaks ABI %u; this client speaks ABI %d", major, AQD_ABI_MAJOR);
    }
    c->refusal = aqd_get32(w + offsetof(struct aqd_abi_welcome, status));
    if (c->refusal != AQD_WELCOME_ATTACHED) {
        keep_message(c, w + offsetof(struct aqd_abi_welcome, message));
        return AQD_ERR_REFUSED;
    }
    size_t due = c->observing ? 1 : 2;
    if (packet->n_fds != due) {
        return aqd_fail(c, AQD_ERR_PROTOCOL, "the welcome carries %zu descriptors instead of %zu", packet->n_fds, due);
    }
    granted->ring_bytes = aqd_get64(w + offsetof(struct aqd_abi_welcome, ring_bytes));
    granted->cursor_bytes = aqd_get32(w + offsetof(struct aqd_abi_welcome, cursor_bytes));
    return AQD_OK;
}

/* Maps a segment that cannot be shortened: without that seal its owner could turn our next load
 * into a SIGBUS. */
static aqd_status map_segment(aqd_client *c, const char *name, int fd, uint64_t bytes, int protection, void **mapping, size_t *mapped)
{
    struct stat about;
    if (fstat(fd, &about) != 0) {
        return aqd_fail_errno(c, "fstat", errno);
    }
    if (bytes == 0 || bytes > SIZE_MAX || about.st_size < 0 || (uint64_t)about.st_size < bytes) {
        return aqd_fail(c, AQD_ERR_SIZE, "the %s segment has %lld bytes; the welcome says %llu", name, (long long)about.st_size,
                    (unsigned long long)bytes);
    }
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
        return aqd_fail(c, AQD_ERR_NOT_SEALED, "the %s segment is not sealed against shrinking", name);
    }
    void *at = mmap(NULL, (size_t)bytes, protection, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        return aqd_fail_errno(c, "mmap", errno);
    }
    *mapping = at;
    *mapped = (size_t)bytes;
    return AQD_OK;
}

/* Says what is wrong with the segments: the fields that the status is about, and their values. */
static aqd_status explain(aqd_client *c, aqd_status status)
{
    const struct aqd_segments *s = &c->segments;
    unsigned char h[sizeof(struct aqd_abi_ring_header)] = {0};
    if (s->ring_bytes >= sizeof h) {
        aqd_load_bytes(h, (const unsigned char *)s->ring, sizeof h);
    }
    unsigned major = aqd_get16(h + offsetof(struct aqd_abi_ring_header, abi_major));
    unsigned offset = aqd_get32(h + offsetof(struct aqd_abi_ring_header, data_offset));
    unsigned capacity = aqd_get32(h + offsetof(struct aqd_abi_ring_header, capacity));
    unsigned max_payload = aqd_get32(h + offsetof(struct aqd_abi_ring_header, max_payload));
    unsigned long long epoch = aqd_get64(h + offsetof(struct aqd_abi_ring_header, epoch));
    unsigned long long claimed = offset + (unsigned long long)capacity * AQD_GRANULE_BYTES;
    switch (status) {
    case AQD_ERR_VERSION:
        return aqd_fail(c, status, "the %s segment is of ABI %u; this library reads ABI %d", major != AQD_ABI_MAJOR ? "ring" : "cursor",
                        major != AQD_ABI_MAJOR ? major : aqd_get16((const unsigned char *)s->cursor + 8), AQD_ABI_MAJOR);
    case AQD_ERR_CHECKSUM:
        return aqd_fail(c, status, "the ring header says checksum %08x; its bytes have %08x",
                        (unsigned)aqd_get32(h + offsetof(struct aqd_abi_ring_header, header_crc)),
                        (unsigned)aqd_crc32(h, offsetof(struct aqd_abi_ring_header, header_crc)));
    case AQD_ERR_GEOMETRY:
        return aqd_fail(c, status, "ABI 2.1 rules out this ring header: epoch %llx, capacity %u granules, max_payload %u, data_offset %u bytes",
                        epoch, capacity, max_payload, offset);
    case AQD_ERR_SIZE:
        return s->ring_bytes < sizeof h || s->ring_bytes < claimed
                   ? aqd_fail(c, status, "the ring segment has %zu bytes; its header claims %llu", s->ring_bytes, claimed)
                   : aqd_fail(c, status, "the cursor segment has %zu bytes; the least is %d", s->cursor_bytes, AQD_CURSOR_BYTES_MIN);
    case AQD_ERR_TAIL: {
        const aqd_evidence *e = c->observing ? &c->observer.evidence : &c->reader.evidence;
        return aqd_fail(c, status, "position %u and tail %u are not within %u granules", (unsigned)e->position, (unsigned)e->tail, capacity);
    }
    default: return aqd_fail(c, status, "%s", aqd_strerror(status));
    }
}

static aqd_status map_both(aqd_client *c, const struct granted *granted)
{
    struct aqd_segments *to = &c->segments;
    aqd_status status = map_segment(c, "ring", granted->fds[0], granted->ring_bytes, PROT_READ, &to->ring, &to->ring_bytes);
    if (status == AQD_OK && !c->observing) {
        status = map_segment(c, "cursor", granted->fds[1], granted->cursor_bytes, PROT_READ | PROT_WRITE, &to->cursor, &to->cursor_bytes);
    }
    if (status != AQD_OK) {
        return status;
    }
    status = c->observing ? aqd_observer_init(&c->observer, to->ring, to->ring_bytes)
                          : aqd_reader_init(&c->reader, to->ring, to->ring_bytes, to->cursor, to->cursor_bytes);
    return status == AQD_OK ? AQD_OK : explain(c, status);
}

aqd_status aqd_attach_begin(aqd_client *c, int64_t deadline_ms)
{
    aqd_status status = aqd_dial(c, deadline_ms);
    return status == AQD_OK ? say_hello(c) : status;
}

aqd_status aqd_attach_finish(aqd_client *c, int64_t deadline_ms)
{
    struct aqd_packet packet = {.n_fds = 0};
    struct granted granted = {.fds = packet.fds};
    aqd_status status = hear_welcome(c, deadline_ms, &packet, &granted);
    if (status == AQD_OK) {
        status = map_both(c, &granted);
    }
    for (size_t i = 0; i < packet.n_fds; i++) {
        close(packet.fds[i]);
    }
    return status;
}

aqd_status aqd_attach_fds(aqd_client *c, int ring_fd, int cursor_fd)
{
    const int fds[] = {ring_fd, cursor_fd};
    struct granted granted = {.fds = fds};
    struct stat about;
    if (fstat(ring_fd, &about) != 0) {
        return aqd_fail_errno(c, "fstat", errno);
    }
    granted.ring_bytes = (uint64_t)about.st_size;
    if (!c->observing && fstat(cursor_fd, &about) != 0) {
        return aqd_fail_errno(c, "fstat", errno);
    }
    granted.cursor_bytes = (uint64_t)about.st_size < UINT32_MAX ? (uint32_t)about.st_size : UINT32_MAX;
    return map_both(c, &granted);
}

bool aqd_is_curable(const aqd_client *c, aqd_status status)
{
    switch (status) {
    case AQD_ERR_SYSTEM: return c->error_number == ENOENT || c->error_number == ECONNREFUSED;
    case AQD_ERR_REFUSED:
        return c->refusal == AQD_WELCOME_SHUTTING_DOWN || c->refusal == AQD_WELCOME_NO_RESOURCE ||
               (c->standby && c->refusal == AQD_WELCOME_BUSY);
    case AQD_ERR_TIMEOUT: case AQD_ERR_HANGUP: return true;
    default: return false;
    }
}
