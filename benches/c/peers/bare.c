/* Limits of every round trip: one word on a cache line of its own, watched or slept on. It carries
 * the low half of the number only. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "medium.h"

struct line {
    _Alignas(128) _Atomic uint32_t word; /* low half of the last number + 1 */
    _Alignas(128) uint32_t last;         /* the receiver's: what it saw last */
};

static void *line_make(size_t bytes, bool busy, int id)
{
    (void)bytes;
    (void)busy;
    return share(sizeof(struct line), id);
}

static void line_send(void *channel, const void *message, size_t bytes)
{
    (void)bytes;
    struct line *l = channel;
    uint32_t number;
    memcpy(&number, message, sizeof number);
    /* ORDER(trip): release. Pairs with the acquire in `deliver`'s callers, as those of a ring's
     * tail do. */
    atomic_store_explicit(&l->word, number + 1, memory_order_release);
}

static void deliver(struct line *l, uint32_t now, void *message, size_t bytes)
{
    uint64_t number = now - 1, complement = ~number;
    l->last = now;
    memcpy(message, &number, sizeof number);
    memcpy((unsigned char *)message + bytes - sizeof complement, &complement, sizeof complement);
}

static void line_receive(void *channel, void *message, size_t bytes)
{
    struct line *l = channel;
    uint32_t tries = 0, now;
    /* ORDER(trip): acquire. Pairs with `line_send`. */
    while ((now = atomic_load_explicit(&l->word, memory_order_acquire)) == l->last) {
        pause_for(&tries);
    }
    deliver(l, now, message, bytes);
}

const struct medium line_medium = { "line", line_make, NULL, line_send, line_receive };

static void futex_send(void *channel, const void *message, size_t bytes)
{
    struct line *l = channel;
    line_send(channel, message, bytes);
    syscall(SYS_futex, &l->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_receive(void *channel, void *message, size_t bytes)
{
    struct line *l = channel;
    uint32_t now;
    /* ORDER(trip): acquire. Pairs with `line_send`. */
    while ((now = atomic_load_explicit(&l->word, memory_order_acquire)) == l->last) {
        syscall(SYS_futex, &l->word, FUTEX_WAIT, l->last, NULL, NULL, 0);
    }
    deliver(l, now, message, bytes);
}

const struct medium futex_medium = { "futex", line_make, NULL, futex_send, futex_receive };
