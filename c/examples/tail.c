/* aqd-tail: prints records as they come. Manual page: man/aqd-tail.1.
 * Run: build/tail -r demo -S audit /run/aqueduct.sock
 * Expect: 0 7 15 hello, aqueduct     (number, type, bytes, payload) */
#define _GNU_SOURCE 1
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aqueduct/client.h"

enum { EXIT_TROUBLE = 1, EXIT_USAGE = 2, EXIT_LOST = 3 };

/* Released together at the latest, so that a busy producer gets its space back in time. */
#define BATCH_MAX 256

struct options {
    aqd_options open;
    const char *format;
    uint64_t count; /* 0: no limit */
    bool quiet;
};

static aqd_client *interruptible; /* INVARIANT: NULL, or open while the handlers are set */

static void stop(int signal)
{
    (void)signal;
    aqd_interrupt(interruptible);
}

static int usage(const char *what, const char *value)
{
    fprintf(stderr, "aqd-tail: %s%s%s\n", what, value ? ": " : "", value ? value : "");
    fprintf(stderr, "usage: aqd-tail [-oq] [-f format] [-n count] [-R seconds] [-r ring] [-S subscription] [-s start] [-t seconds]\n"
                    "                [-w seconds] [socket]\n");
    return EXIT_USAGE;
}

/* Seconds, or "forever", as milliseconds; false if it is neither. */
static bool parse_ms(const char *text, int32_t *ms)
{
    char *end;
    if (strcmp(text, "forever") == 0) {
        *ms = -1;
        return true;
    }
    unsigned long seconds = strtoul(text, &end, 10);
    *ms = (int32_t)(seconds <= 1000000 ? seconds * 1000 : 0);
    return *text >= '0' && *text <= '9' && *end == 0 && *ms > 0;
}

static bool parse_start(const char *text, aqd_start *start)
{
    static const char *const names[] = {"here", "oldest", "latest"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            *start = (aqd_start)i;
            return true;
        }
    }
    return false;
}

/* The first wrong conversion or escape of a format; NULL if there is none. */
static const char *wrong_in_format(const char *format)
{
    for (const char *at = format; *at; at++) {
        if ((*at == '%' && (at[1] == 0 || !strchr("aestTlprx%", at[1]))) || (*at == '\\' && (at[1] == 0 || !strchr("nt0\\", at[1])))) {
            return at;
        }
        at += *at == '%' || *at == '\\';
    }
    return NULL;
}

/* What a terminal might obey is written as \xNN. */
static void print_escaped(const unsigned char *payload, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (payload[i] < 0x20 || payload[i] >= 0x7F || payload[i] == '\\') {
            printf("\\x%02x", payload[i]);
        } else {
            putchar(payload[i]);
        }
    }
}

/* name=value, separated by spaces. */
static void print_attributes(const aqd_record *rec, const unsigned char *payload)
{
    aqd_named_value one;
    const char *before = "";
    for (uint32_t at = 0; aqd_next_attribute(rec, payload, &at, &one); before = " ") {
        fputs(before, stdout);
        print_escaped(one.name, one.name_bytes);
        putchar('=');
        print_escaped(one.value, one.value_bytes);
    }
}

static void print_record(const char *format, uint64_t epoch, const aqd_record *rec, const unsigned char *payload)
{
    for (const char *at = format; *at; at++) {
        if (*at != '%' && *at != '\\') {
            putchar(*at);
            continue;
        }
        bool escape = *at++ == '\\';
        switch (*at) {
        case 'a': print_attributes(rec, payload); break;
        case 'e': printf("%016" PRIx64, epoch); break;
        case 's': printf("%" PRIu64, rec->seq); break;
        case 't': escape ? putchar('\t') : printf("%u", rec->type_tag); break;
        case 'T': printf("%" PRIu64, rec->timestamp_ns); break;
        case 'l': printf("%" PRIu32, rec->len); break;
        case 'p': print_escaped(payload, rec->len); break;
        case 'r': fwrite(payload, 1, rec->len, stdout); break;
        case 'x':
            for (uint32_t i = 0; i < rec->len; i++) {
                printf("%02x", payload[i]);
            }
            break;
        case 'n': putchar('\n'); break;
        case '0': putchar(0); break;
        default: putchar(*at); /* %% and \\ */
        }
    }
}

/* Says what was met on the way, if it is worth a line. */
static void note(const aqd_client *c, aqd_status status, const aqd_record *rec)
{
    const aqd_evidence *e = aqd_get_evidence(c);
    switch (status) {
    case AQD_EPOCH_CHANGED:
        fprintf(stderr, "aqd-tail: another ring: epoch %016" PRIx64 " after %016" PRIx64 "%s\n", aqd_get_change(c)->new_epoch,
                aqd_get_change(c)->old_epoch, aqd_get_change(c)->missed ? ", records were missed" : "");
        break;
    case AQD_ERR_OVERRUN:
        if (e->found_seq != e->expected_seq) {
            fprintf(stderr, "aqd-tail: %" PRIu64 " records overwritten before they were read\n", e->found_seq - e->expected_seq);
        }
        break;
    case AQD_ERR_GAP: fprintf(stderr, "aqd-tail: %" PRIu64 " records missing before %" PRIu64 "\n", e->found_seq - e->expected_seq, e->found_seq); break;
    case AQD_ERR_PAYLOAD:
        fprintf(stderr, "aqd-tail: record %" PRIu64 " damaged: CRC stored 0x%08" PRIX32 ", computed 0x%08" PRIX32 "\n", rec->seq, e->stored_crc,
                e->computed_crc);
        break;
    case AQD_ERR_HEADER:
        fprintf(stderr, "aqd-tail: damage skipped from granule %" PRIu64 " to %" PRIu64 "\n", e->position, e->resumed);
        break;
    default: fprintf(stderr, "aqd-tail: %s\n", aqd_strerror(status));
    }
}

/* A buffer for every record of the present ring. */
static bool grow(const aqd_client *c, unsigned char **buf, size_t *cap)
{
    size_t wanted = aqd_get_info(c)->max_payload;
    unsigned char *larger = wanted > *cap || !*buf ? realloc(*buf, wanted + 1) : *buf;
    if (!larger) {
        fprintf(stderr, "aqd-tail: no memory for a payload of %zu bytes\n", wanted);
        return false;
    }
    *buf = larger;
    *cap = wanted > *cap ? wanted : *cap;
    return true;
}

/* Only what was written is released: what a closed pipe or a full disk did not take comes again. */
static bool release_written(aqd_client *c)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "aqd-tail: standard output: %s\n", strerror(errno));
        return false;
    }
    aqd_release(c);
    return true;
}

static int run(aqd_client *c, const struct options *o)
{
    unsigned char *buf = NULL;
    size_t cap = 0;
    uint64_t printed = 0;
    int code = EXIT_TROUBLE;
    while (grow(c, &buf, &cap)) {
        aqd_record rec;
        aqd_status status = AQD_OK;
        for (unsigned n = 0; n < BATCH_MAX && status == AQD_OK && (o->count == 0 || printed < o->count); n++) {
            status = aqd_next(c, buf, cap, &rec);
            if (status == AQD_OK) {
                print_record(o->format, aqd_get_info(c)->epoch, &rec, buf);
                printed++;
            }
        }
        if (!release_written(c)) {
            break;
        }
        if (status == AQD_CLOSED || (o->count > 0 && printed == o->count)) {
            code = 0;
            break;
        }
        if (status == AQD_LOST || status == AQD_ERR_TAIL) {
            note(c, status, &rec);
            code = status == AQD_LOST ? EXIT_LOST : EXIT_TROUBLE;
            break;
        }
        if (status != AQD_OK && status != AQD_EMPTY && !o->quiet) {
            note(c, status, &rec);
        }
        /* Without data the wait sleeps; with data it is a look for an interrupt. */
        status = aqd_wait(c, status == AQD_EMPTY ? -1 : 0);
        if (status == AQD_INTERRUPTED) {
            code = 0;
            break;
        }
        if (status == AQD_ERR_SYSTEM) {
            note(c, status, &rec);
            break;
        }
    }
    free(buf);
    return code;
}

/* Where the listener puts its socket if it is not told. */
static const char *default_socket(void)
{
    static char path[128];
    const char *directory = getenv("XDG_RUNTIME_DIR");
    if (!directory || *directory != '/' || snprintf(path, sizeof path, "%s/aqueduct.sock", directory) >= (int)sizeof path) {
        return "/run/aqueduct.sock";
    }
    return path;
}

int main(int argc, char **argv)
{
    struct options o = {.format = "%s %t %l %p\\n"};
    o.open.size = sizeof o.open;
    for (int option; (option = getopt(argc, argv, "f:n:oqR:r:S:s:t:w:")) != -1;) {
        char *end = NULL;
        switch (option) {
        case 'f':
            if (wrong_in_format(optarg)) {
                return usage("no such conversion in the format", wrong_in_format(optarg));
            }
            o.format = optarg;
            break;
        case 'n':
            o.count = strtoull(optarg, &end, 10);
            if (*optarg < '0' || *optarg > '9' || *end || o.count == 0) {
                return usage("the count is a number from 1", optarg);
            }
            break;
        case 'o': o.open.observe = 1; break;
        case 'q': o.quiet = true; break;
        case 'R':
            if (!parse_ms(optarg, &o.open.reconnect_ms)) {
                return usage("the time to reconnect is seconds from 1, or forever", optarg);
            }
            break;
        case 'r': o.open.ring = optarg; break;
        case 'S': o.open.subscription = optarg; break;
        case 's':
            if (!parse_start(optarg, &o.open.start)) {
                return usage("the start is here, oldest or latest", optarg);
            }
            break;
        case 't':
            if (!parse_ms(optarg, &o.open.timeout_ms)) {
                return usage("the timeout is seconds from 1, or forever", optarg);
            }
            break;
        case 'w':
            if (!parse_ms(optarg, &o.open.open_retry_ms)) {
                return usage("the time to wait for a listener is seconds from 1, or forever", optarg);
            }
            break;
        default: return usage("unknown option, or one without its value", NULL);
        }
    }
    if (argc - optind > 1) {
        return usage("one socket at a time", argv[optind + 1]);
    }
    if (o.open.observe && o.open.subscription) {
        return usage("an observer has no subscription: -o and -S exclude each other", NULL);
    }
    o.open.path = optind < argc ? argv[optind] : default_socket();

    aqd_client *c;
    aqd_status status = aqd_open_with(&o.open, &c);
    if (status != AQD_OK) {
        const char *message = aqd_message(c);
        fprintf(stderr, "aqd-tail: %s: %s\n", o.open.path, *message ? message : aqd_strerror(status));
        aqd_close(c);
        return EXIT_TROUBLE;
    }
    interruptible = c;
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int code = run(c, &o);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    aqd_close(c);
    return code;
}
