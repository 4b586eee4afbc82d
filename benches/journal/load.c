/* Keeps a request under way on each of some connections, and says how many were answered; or writes
 * and syncs without any server.
 * Run: load http|resp|nats PORT CONNECTIONS SECONDS BYTES
 *      load bare FILE 1 SECONDS BYTES
 * Expect: done=12000 seconds=3.000 mean_us=250.1 p50_us=240.0
 *
 * http posts to /v1/rings/default/records and wants 202; resp adds to a stream by XADD; nats
 * publishes to `bench.a`, which a stream of JetStream takes, and wants its acknowledgement. bare
 * appends records of that size to a file whose space is there and syncs each by fdatasync: what the
 * disk can do for one client. Exit: 0, or 1 if anything else was answered. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define CONNECTIONS_MAX 1024
#define INPUT_MAX 8192

enum protocol { HTTP, RESP, NATS };

struct connection {
    int fd;
    char *request;
    size_t request_len;
    char input[INPUT_MAX];
    size_t input_len;
    uint64_t sent_ns;
};

static struct connection connections[CONNECTIONS_MAX];
static uint32_t *latencies_ns;
static size_t done, room;

static void fail(const char *what)
{
    fprintf(stderr, "load: %s (%s)\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void note(uint64_t took_ns)
{
    if (done == room) {
        room = room ? 2 * room : 1 << 16;
        latencies_ns = realloc(latencies_ns, room * sizeof *latencies_ns);
        if (!latencies_ns)
            fail("no memory");
    }
    latencies_ns[done++] = took_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)took_ns;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void report(uint64_t took_ns)
{
    double sum = 0;

    for (size_t i = 0; i < done; i++)
        sum += latencies_ns[i];
    qsort(latencies_ns, done, sizeof *latencies_ns, compare);
    printf("done=%zu seconds=%.3f mean_us=%.1f p50_us=%.1f\n", done, (double)took_ns / 1e9,
           done ? sum / (double)done / 1e3 : 0, done ? latencies_ns[done / 2] / 1e3 : 0);
}

static void write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t wrote = write(fd, bytes, len);
        if (wrote < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (wrote <= 0)
            fail("write");
        bytes += wrote;
        len -= (size_t)wrote;
    }
}

static char *request_of(enum protocol protocol, int number, size_t bytes, size_t *len)
{
    char head[256], *request;
    const char *tail = protocol == HTTP ? "" : "\r\n";
    int head_len = 0;

    switch (protocol) {
    case HTTP:
        head_len = snprintf(head, sizeof head,
                            "POST /v1/rings/default/records HTTP/1.1\r\nhost: b\r\n"
                            "content-length: %zu\r\n\r\n",
                            bytes);
        break;
    case RESP:
        head_len = snprintf(head, sizeof head,
                            "*5\r\n$4\r\nXADD\r\n$1\r\na\r\n$1\r\n*\r\n$4\r\ndata\r\n$%zu\r\n",
                            bytes);
        break;
    case NATS:
        head_len = snprintf(head, sizeof head, "PUB bench.a _IN.%d %zu\r\n", number, bytes);
        break;
    }
    *len = (size_t)head_len + bytes + strlen(tail);
    request = malloc(*len + 1);
    if (!request)
        fail("no memory");
    memcpy(request, head, (size_t)head_len);
    for (size_t i = 0; i < bytes; i++)
        request[(size_t)head_len + i] = (char)('a' + i % 26);
    memcpy(request + head_len + bytes, tail, strlen(tail) + 1);
    return request;
}

/* Whether a whole answer is there. NATS also sends INFO, PING and +OK, which are taken out. */
static int is_answered(enum protocol protocol, struct connection *c)
{
    char *end, *line = c->input;

    c->input[c->input_len] = 0;
    if (protocol == HTTP) {
        char *length;
        end = strstr(line, "\r\n\r\n");
        if (!end)
            return 0;
        if (strncmp(line, "HTTP/1.1 202", 12) != 0)
            fail("not 202");
        length = strcasestr(line, "\r\ncontent-length:");
        if (!length || length > end)
            fail("no length");
        if (c->input_len < (size_t)(end + 4 - line) + strtoul(length + 17, NULL, 10))
            return 0;
        c->input_len = 0;
        return 1;
    }
    if (protocol == RESP) {
        if (c->input_len > 0 && line[0] != '$')
            fail("not an id");
        end = strstr(line, "\r\n");
        if (!end || !strstr(end + 2, "\r\n"))
            return 0;
        c->input_len = 0;
        return 1;
    }
    while ((end = strstr(line, "\r\n")) != NULL) {
        if (strncmp(line, "MSG ", 4) == 0) {
            char *body_end = strstr(end + 2, "\r\n");
            if (!body_end)
                return 0;
            if (!strstr(end, "\"seq\""))
                fail("not acknowledged");
            c->input_len = 0;
            return 1;
        }
        if (strncmp(line, "PING", 4) == 0)
            write_all(c->fd, "PONG\r\n", 6);
        else if (strncmp(line, "-ERR", 4) == 0)
            fail("-ERR");
        c->input_len -= (size_t)(end + 2 - line);
        memmove(c->input, end + 2, c->input_len + 1);
    }
    return 0;
}

static void open_connection(struct connection *c, enum protocol protocol, int port, int number,
                            size_t bytes)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (protocol == NATS) {
        char hello[128];
        int len = snprintf(hello, sizeof hello,
                           "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB _IN.%d 1\r\n",
                           number);
        write_all(c->fd, hello, (size_t)len);
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->request = request_of(protocol, number, bytes, &c->request_len);
}

static void ask(struct connection *c)
{
    c->sent_ns = now_ns();
    write_all(c->fd, c->request, c->request_len);
}

static void bare(const char *path, double seconds, size_t bytes)
{
    enum { SPACE = 64 << 20 };
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    char *record = malloc(bytes);
    uint64_t start, end;
    off_t at = 0;

    if (fd < 0 || !record || posix_fallocate(fd, 0, SPACE) != 0 || fsync(fd) != 0)
        fail(path);
    memset(record, 'a', bytes);
    start = now_ns();
    end = start + (uint64_t)(seconds * 1e9);
    for (uint64_t begun = start; begun < end; begun = now_ns()) {
        if (pwrite(fd, record, bytes, at) != (ssize_t)bytes || fdatasync(fd) != 0)
            fail("pwrite and fdatasync");
        note(now_ns() - begun);
        at = (at + (off_t)bytes) % (SPACE - (off_t)bytes);
    }
    report(now_ns() - start);
}

int main(int argc, char **argv)
{
    enum protocol protocol;
    struct epoll_event events[256];
    uint64_t start, end;
    double seconds;
    size_t bytes;
    int count, poll;

    if (argc != 6) {
        fprintf(stderr, "usage: load http|resp|nats|bare PORT|FILE CONNECTIONS SECONDS BYTES\n");
        return 2;
    }
    count = atoi(argv[3]);
    seconds = atof(argv[4]);
    bytes = strtoul(argv[5], NULL, 10);
    if (strcmp(argv[1], "bare") == 0) {
        bare(argv[2], seconds, bytes);
        return 0;
    }
    protocol = argv[1][0] == 'h' ? HTTP : argv[1][0] == 'r' ? RESP : NATS;
    if (count < 1 || count > CONNECTIONS_MAX)
        fail("too many connections");
    poll = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        open_connection(&connections[i], protocol, atoi(argv[2]), i, bytes);
        epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &event);
    }
    start = now_ns();
    end = start + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < count; i++)
        ask(&connections[i]);
    while (now_ns() < end) {
        int ready = epoll_wait(poll, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *c = &connections[events[i].data.u32];
            ssize_t got = read(c->fd, c->input + c->input_len, INPUT_MAX - 1 - c->input_len);
            if (got < 0 && (errno == EAGAIN || errno == EINTR))
                continue;
            if (got <= 0)
                fail("a connection ended");
            c->input_len += (size_t)got;
            if (is_answered(protocol, c)) {
                note(now_ns() - c->sent_ns);
                ask(c);
            }
        }
    }
    report(now_ns() - start);
    return 0;
}
