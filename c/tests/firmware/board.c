/* The board under examples/microcontroller.c, emulated: start-up code, what its main loop calls,
 * and the other core, which is a timer's interrupt and so comes between any two instructions of the
 * reader. It makes the ring late, writes it with the tests' writer, damages some records, waits for
 * space when the ring is full, closes, and compares what was read with what it wrote. Run: make
 * check-cross Expect: ok: 3000 records, 30 payloads and 30 headers damaged, 29 too large; the ring
 * was late and full, the reader slept The argument seed=damage spoils one more record, seed=deaf
 * breaks the doorbell: the run must fail then. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../writer.h"
#include "aqueduct/reader.h"

#define RECORDS 3000u
#define CAPACITY 128u
#define RING_AT_TICK 20u
/* Ticks in which nothing is written, after which reader and writer are called stuck. */
#define PATIENCE_TICKS 5000u
#define LARGE_BYTES 300u /* more than the example's buffer */

/* The example's. */
extern unsigned char shared_ring[256 + CAPACITY * AQD_GRANULE_BYTES], shared_cursor[AQD_CURSOR_BYTES_MIN];
extern struct {
    uint32_t records;
    uint32_t bytes;
    uint32_t damaged;
} seen;
int main(void);

/* ---- The emulator, by semihosting ---- */

enum { SYS_WRITE0 = 0x04, SYS_GET_CMDLINE = 0x15, SYS_EXIT = 0x18 };

static int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void say(const char *text) { semihosting(SYS_WRITE0, text); }

static void say_number(uint32_t number)
{
    char digits[11] = "";
    char *at = digits + sizeof digits - 1;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    say(at);
}

_Noreturn static void end(bool good)
{
    for (;;) {
        semihosting(SYS_EXIT, (const void *)(uintptr_t)(good ? 0x20026 : 0x20023)); /* ApplicationExit, RunTimeError */
    }
}

static void expect(const char *what, uint32_t is, uint32_t expected)
{
    if (is != expected) {
        say("FAILED: ");
        say(what);
        say(": ");
        say_number(is);
        say(" instead of ");
        say_number(expected);
        say("\n");
        end(false);
    }
}

/* Whether the emulator was given the argument seed=FAULT. */
static bool seeded(const char *fault)
{
    static char line[128];
    const struct {
        char *buffer;
        uint32_t bytes;
    } block = {line, sizeof line};
    if (semihosting(SYS_GET_CMDLINE, &block) != 0) {
        return false;
    }
    const char *seed = strstr(line, "seed=");
    return seed && strcmp(seed + 5, fault) == 0;
}

/* ---- The other core ---- */

static struct {
    struct writer w;
    uint32_t ticks, last_progress, next, space_wanted;
    uint32_t payloads, headers, too_large, bytes; /* damaged, damaged, written, in good records */
    uint32_t random;
    uint32_t meanwhile; /* records written while the reader was not asleep */
    volatile uint32_t sleeps, doorbells;
    volatile bool asleep;
    uint32_t doorbells_before; /* the wish for space */
    bool waiting, closed, damages_more, deaf;
} core;

static uint32_t random_below(uint32_t limit)
{
    core.random ^= core.random << 13;
    core.random ^= core.random >> 17;
    core.random ^= core.random << 5;
    return core.random % limit;
}

static uint32_t cursor_word(uint32_t at) { return __atomic_load_n((uint32_t *)(void *)(shared_cursor + at), __ATOMIC_ACQUIRE); }

static uint32_t free_granules(void) { return CAPACITY - (core.w.tail - cursor_word(AQD_CURSOR_CURSOR)); }

/* ABI 4.6. After a wish for space the cursor is not looked at again before the doorbell has
 * rung. */
static bool has_room(uint32_t granules)
{
    if (core.waiting && core.doorbells == core.doorbells_before) {
        return false;
    }
    core.waiting = false;
    if (free_granules() >= granules) {
        return true;
    }
    core.doorbells_before = core.doorbells;
    __atomic_store_n((uint32_t *)(void *)(shared_ring + AQD_RING_SPACE_WANTED), ++core.space_wanted, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    core.waiting = free_granules() < granules;
    return !core.waiting;
}

static void write_record(uint32_t number)
{
    static unsigned char payload[LARGE_BYTES];
    uint32_t len = number % 97 == 7 && number % 100 != 50 ? LARGE_BYTES : number * 7 % 121;
    for (uint32_t i = 0; i < len; i++) {
        payload[i] = (unsigned char)(number + i);
    }
    writer_data(&core.w, (uint16_t)number, payload, len);
    /* Behind the last DATA record's header comes its payload, in one stretch. */
    unsigned char *record = writer_at(&core.w, core.w.tail - (1 + (len + 31) / 32));
    if (number % 100 == 50) {
        record[32 + number % len] ^= 0x10;
        core.payloads++;
    } else if (number % 100 == 80) {
        record[number % 32] ^= 0x10;
        core.headers++;
    } else if (core.damages_more && number == 60) {
        record[32] ^= 0x10;
    } else if (len == LARGE_BYTES) {
        core.too_large++;
    } else {
        core.bytes += len;
    }
}

static void compare_and_end(void)
{
    uint32_t damaged = core.payloads + core.headers;
    expect("records handled", seen.records, RECORDS - damaged - core.too_large);
    expect("bytes handled", seen.bytes, core.bytes);
    expect("records that the example calls damaged", seen.damaged, damaged + core.too_large);
    expect("damaged records told by the reader", cursor_word(AQD_CURSOR_CORRUPT), damaged);
    expect("lost records told by the reader", cursor_word(AQD_CURSOR_LOST), damaged);
    expect("whether the ring was full", core.space_wanted > 0 && core.doorbells > 0, 1);
    expect("whether the reader slept", core.sleeps > 0, 1);
    expect("whether anything was written while it read", core.meanwhile > 0, 1);
    say("ok: ");
    say_number(RECORDS);
    say(" records, ");
    say_number(core.payloads);
    say(" payloads and ");
    say_number(core.headers);
    say(" headers damaged, ");
    say_number(core.too_large);
    say(" too large; the ring was late and full, the reader slept\n");
    end(true);
}

static void tick(void)
{
    if (core.ticks++ < RING_AT_TICK) {
        expect("records read before there was a ring", seen.records + seen.damaged, 0);
        return;
    }
    if (!core.w.ring) {
        writer_format(&core.w, shared_ring, shared_cursor, CAPACITY, 256, UINT64_C(0xB0A4D00000000001), UINT32_MAX - 3000);
        core.last_progress = core.ticks;
    }
    /* Now and then as much as there is room for. */
    for (uint32_t n = core.ticks % 16 == 0 ? RECORDS : random_below(4); n > 0 && core.next < RECORDS; n--) {
        if (!has_room(2 * (1 + LARGE_BYTES / 32 + 1))) { /* a padding record as long as the record may come before it */
            break;
        }
        write_record(core.next++);
        core.last_progress = core.ticks;
        core.meanwhile += !core.asleep;
    }
    writer_publish(&core.w);
    if (core.next == RECORDS && !core.closed && has_room(1)) {
        core.closed = true;
        writer_close(&core.w);
    }
    if (core.closed && cursor_word(AQD_CURSOR_CURSOR) == core.w.tail) {
        compare_and_end();
    }
    if (core.ticks - core.last_progress > PATIENCE_TICKS) {
        expect("records written when nothing went on any more", core.next, RECORDS);
        expect("the reader's position behind the close", cursor_word(AQD_CURSOR_CURSOR), core.w.tail);
    }
}

/* ---- What the example needs of a board ---- */

void board_ring_doorbell(void);
void board_sleep(void);

void board_ring_doorbell(void) { core.doorbells += !core.deaf; }

void board_sleep(void)
{
    core.sleeps++;
    core.asleep = true;
    __asm__ volatile("wfi" ::: "memory");
    core.asleep = false;
}

/* ---- Start-up ---- */

#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)

extern uint32_t data_start[], data_end[], data_image[], bss_start[], bss_end[], stack_top[];
extern unsigned char shared_start[], shared_end[];

static void on_tick(void)
{
    tick();
    SYST_RVR = 500 + random_below(4000);
}

static void on_fault(void)
{
    say("FAILED: a fault\n");
    end(false);
}

static void on_reset(void)
{
    memcpy(data_start, data_image, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    memset(shared_start, 0xA5, (size_t)(shared_end - shared_start));
    core.random = 0xC0FE;
    core.damages_more = seeded("damage");
    core.deaf = seeded("deaf");
    SYST_RVR = 2000;
    SYST_CVR = 0;
    SYST_CSR = 7; /* on, with its interrupt, by the core's clock */
    main();
    say("FAILED: main returned\n");
    end(false);
}

__attribute__((section(".vectors"), used)) static const struct {
    void *stack;
    void (*handlers[15])(void);
} vectors = {stack_top, {on_reset, on_fault, on_fault, [14] = on_tick}};
