/* A listener for tests: one connection, one answer, told what to do wrong. Its ring is the test
 * writer's, in sealed memfds. */
#ifndef AQUEDUCT_TESTS_FAKE_LISTENER_H
#define AQUEDUCT_TESTS_FAKE_LISTENER_H

/* The including file defines _GNU_SOURCE. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "aqueduct/client.h"
#include "check.h"
#include "writer.h"

#define FAKE_CAPACITY 64u
#define FAKE_OFFSET 4096u
#define FAKE_RING_BYTES (FAKE_OFFSET + FAKE_CAPACITY * 32u)
#define FAKE_CURSOR_BYTES 4096u
#define FAKE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct fake {
    /* What to do; fake_start fills in an honest answer, tests change it before fake_answer. */
    struct aqd_abi_welcome welcome; /* in host order */
    size_t welcome_len;
    int n_fds;
    int ring_seals, cursor_seals;
    uint64_t epoch;
    uint32_t start; /* position of the first record */
    bool hang_up_before_hello, hang_up_after_hello, answer_before_hello, silent, nothing_is_a_memfd;

    /* What came of it. */
    unsigned char hello[200];
    ssize_t hello_len;
    int connection;
    struct writer w;
    int ring_fd, cursor_fd, listening;
    char path[64];
    pthread_t thread;
};

static inline int fake_segment(const struct fake *f, const char *name, size_t bytes, unsigned char **mapping)
{
    char path[] = "/tmp/aqueduct-test-XXXXXX";
    int fd = f->nothing_is_a_memfd ? mkstemp(path) : memfd_create(name, MFD_ALLOW_SEALING | MFD_CLOEXEC);
    if (f->nothing_is_a_memfd) {
        unlink(path);
    }
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
        abort();
    }
    *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*mapping == MAP_FAILED) {
        abort();
    }
    return fd;
}

/* Listens at a path, or at one of its own if that is NULL. */
static inline void fake_start_at(struct fake *f, const char *path)
{
    *f = (struct fake){.welcome_len = sizeof f->welcome, .n_fds = 2, .ring_seals = FAKE_SEALS, .cursor_seals = FAKE_SEALS, .connection = -1,
                       .ring_fd = -1, .cursor_fd = -1, .epoch = UINT64_C(0xFEEDFACECAFEBEEF)};
    memcpy(f->welcome.magic, AQD_WELCOME_MAGIC, 8);
    f->welcome.abi_major = 1;
    f->welcome.ring_bytes = FAKE_RING_BYTES;
    f->welcome.cursor_bytes = FAKE_CURSOR_BYTES;
    static int number;
    snprintf(f->path, sizeof f->path, "/tmp/aqueduct-test-%d-%d", (int)getpid(), number++);
    if (path) {
        snprintf(f->path, sizeof f->path, "%s", path);
    } else {
        unlink(f->path); /* of a process of this number that was killed */
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, f->path);
    f->listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (f->listening < 0 || bind(f->listening, (struct sockaddr *)&address, sizeof address) != 0 || listen(f->listening, 1) != 0) {
        abort();
    }
}

static inline void fake_start(struct fake *f) { fake_start_at(f, NULL); }

static inline void fake_send_welcome(struct fake *f)
{
    unsigned char packet[256] = {0};
    memcpy(packet, f->welcome.magic, 8);
    aqd_put16(packet + 8, f->welcome.abi_major);
    aqd_put16(packet + 10, f->welcome.abi_minor);
    aqd_put32(packet + 12, f->welcome.status);
    aqd_put64(packet + 16, f->welcome.ring_bytes);
    aqd_put32(packet + 24, f->welcome.cursor_bytes);
    memcpy(packet + 32, f->welcome.message, 96);
    int fds[12];
    for (int i = 0; i < f->n_fds; i++) {
        fds[i] = i % 2 == 0 ? f->ring_fd : f->cursor_fd;
    }
    union {
        struct cmsghdr align;
        unsigned char bytes[CMSG_SPACE(sizeof fds)];
    } control = {0};
    struct iovec part = {.iov_base = packet, .iov_len = f->welcome_len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (f->n_fds > 0) {
        size_t bytes = (size_t)f->n_fds * sizeof(int);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(header), fds, bytes);
    }
    (void)!sendmsg(f->connection, &message, MSG_NOSIGNAL);
}

static inline void *fake_serve(void *argument)
{
    struct fake *f = argument;
    f->connection = accept4(f->listening, NULL, NULL, SOCK_CLOEXEC);
    if (!f->hang_up_before_hello && !f->answer_before_hello) {
        f->hello_len = recv(f->connection, f->hello, sizeof f->hello, 0);
    }
    if (!f->hang_up_before_hello && !f->hang_up_after_hello && !f->silent) {
        if (f->answer_before_hello) {
            struct pollfd on = {.fd = f->connection, .events = POLLIN};
            poll(&on, 1, 5000); /* the hello is there and stays unread */
        }
        fake_send_welcome(f);
    }
    if (f->hang_up_before_hello || f->hang_up_after_hello || f->answer_before_hello || f->welcome.status != 0) {
        close(f->connection);
        f->connection = -1;
    }
    return NULL;
}

/* Makes the segments and runs serve in a thread; the client's aqd_open comes next, then
 * fake_join. */
static inline void fake_answer_by(struct fake *f, void *(*serve)(void *))
{
    unsigned char *ring, *cursor;
    f->ring_fd = fake_segment(f, "ring", FAKE_RING_BYTES, &ring);
    f->cursor_fd = fake_segment(f, "cursor", FAKE_CURSOR_BYTES, &cursor);
    writer_format(&f->w, ring, cursor, FAKE_CAPACITY, FAKE_OFFSET, f->epoch, f->start);
    if (!f->nothing_is_a_memfd
        && (fcntl(f->ring_fd, F_ADD_SEALS, f->ring_seals) != 0 || fcntl(f->cursor_fd, F_ADD_SEALS, f->cursor_seals) != 0)) {
        abort();
    }
    if (pthread_create(&f->thread, NULL, serve, f) != 0) {
        abort();
    }
}

/* The same with one honest answer, or what the test has changed in it. */
static inline void fake_answer(struct fake *f) { fake_answer_by(f, fake_serve); }

static inline void fake_join(struct fake *f) { pthread_join(f->thread, NULL); }

static inline void fake_hang_up(struct fake *f)
{
    close(f->connection);
    f->connection = -1;
}

/* Its process ends: nobody listens any more, the connection is cut. What was handed out stays. */
static inline void fake_die(struct fake *f)
{
    close(f->listening);
    f->listening = -1;
    unlink(f->path);
    fake_hang_up(f);
}

/* The same ring for a second connection, whose reader finds the cursor where it is. */
static inline void fake_answer_again(struct fake *f)
{
    if (pthread_create(&f->thread, NULL, fake_serve, f) != 0) {
        abort();
    }
}

static inline void fake_wake(const struct fake *f) { (void)!send(f->connection, "W", 1, MSG_NOSIGNAL | MSG_DONTWAIT); }

static inline void fake_free(struct fake *f)
{
    if (f->connection >= 0) {
        close(f->connection);
    }
    munmap(f->w.ring, FAKE_RING_BYTES);
    munmap(f->w.cursor, FAKE_CURSOR_BYTES);
    close(f->ring_fd);
    close(f->cursor_fd);
    if (f->listening >= 0) {
        close(f->listening);
        unlink(f->path);
    }
}

#endif
