/* The sum of a long message by registers of one block: half of the blocks move on by exclusive or
 * alone, while the others are multiplied. Only included where select.h defines AQD_CRC_CLMUL. */
#ifndef AQUEDUCT_CRC32_SPARSE_H
#define AQUEDUCT_CRC32_SPARSE_H

#include "blocks.h"

/* P divides x^300 + x^155 + x^117 + x^89 + 1, so it divides the same polynomial of x^128, which is
 * that one squared seven times: a block is congruent to itself added to the blocks 145, 183, 211
 * and 300 after it. Each block takes up what the blocks so far before it became, and is done with;
 * after the last of them, as many blocks as are kept take up what is left, and are multiplied.
 * Source of the method: Russell, "Chorba: A novel CRC32 implementation", 2024. */
#define AQD_SPARSE_GROUP 8
/* Blocks that are kept: whole groups, and no fewer than the farthest is away. */
#define AQD_SPARSE_KEPT 304
#define AQD_SPARSE_REST ((size_t)16 * AQD_SPARSE_KEPT)
/* Both halves are a multiple of so many bytes, and not of more than AQD_SPARSE_MOST times them. */
#define AQD_SPARSE_UNIT ((size_t)1024)
#define AQD_SPARSE_MOST 63
/* From how many bytes on it pays. */
#define AQD_SPARSE_LONG (64 + AQD_SPARSE_REST + 12 * AQD_SPARSE_UNIT)

/* What became of the last blocks, in turn; the first group once more at the end, so that every
 * group that is looked up is in one piece. */
struct aqd_kept {
    __m128i blocks[AQD_SPARSE_KEPT + AQD_SPARSE_GROUP];
};

/* Where the group begins that is so many blocks before the one at `at`. */
/*@ requires at < AQD_SPARSE_KEPT && 1 <= before <= AQD_SPARSE_KEPT;
    assigns \nothing; exits \false;
    ensures \result < AQD_SPARSE_KEPT; */
static inline size_t aqd_kept_before(size_t at, size_t before) { return at + (size_t)AQD_SPARSE_KEPT * (at < before) - before; }

/* The groups that a group takes up. */
struct aqd_due {
    const __m128i *a, *b, *c, *d;
};

/*@ predicate aqd_group(__m128i *group) = \valid_read(group + (0 .. AQD_SPARSE_GROUP - 1)); */

/* Those of the group at `at`. */
/*@ requires \valid_read(kept) && at < AQD_SPARSE_KEPT;
    assigns \nothing; exits \false;
    ensures aqd_group(\result.a) && aqd_group(\result.b) && aqd_group(\result.c) && aqd_group(\result.d); */
AQD_BY_16 AQD_KERNEL struct aqd_due aqd_due_at(const struct aqd_kept *kept, size_t at)
{
    struct aqd_due due = {kept->blocks + aqd_kept_before(at, 145), kept->blocks + aqd_kept_before(at, 183), kept->blocks + aqd_kept_before(at, 211),
                          kept->blocks + aqd_kept_before(at, 300)};
    return due;
}

/* What block number n takes up. */
/*@ requires aqd_group(due.a) && aqd_group(due.b) && aqd_group(due.c) && aqd_group(due.d) && n < AQD_SPARSE_GROUP;
    assigns \nothing; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_due(struct aqd_due due, size_t n) { return aqd_add(aqd_add(due.a[n], due.b[n]), aqd_add(due.c[n], due.d[n])); }

/* Keeps a first group once more, and says where the next one goes. */
/*@ requires \valid(kept) && at <= AQD_SPARSE_KEPT - AQD_SPARSE_GROUP && at % AQD_SPARSE_GROUP == 0;
    assigns kept->blocks[AQD_SPARSE_KEPT .. AQD_SPARSE_KEPT + AQD_SPARSE_GROUP - 1]; exits \false;
    ensures \result <= AQD_SPARSE_KEPT - AQD_SPARSE_GROUP && \result % AQD_SPARSE_GROUP == 0; */
AQD_BY_16 AQD_KERNEL size_t aqd_kept_next(struct aqd_kept *kept, size_t at)
{
    if (at == 0) {
        /*@ loop invariant 0 <= n <= AQD_SPARSE_GROUP;
            loop assigns n, kept->blocks[AQD_SPARSE_KEPT .. AQD_SPARSE_KEPT + AQD_SPARSE_GROUP - 1];
            loop variant AQD_SPARSE_GROUP - n; */
        for (size_t n = 0; n < AQD_SPARSE_GROUP; n++) {
            kept->blocks[AQD_SPARSE_KEPT + n] = kept->blocks[n];
        }
    }
    return at == AQD_SPARSE_KEPT - AQD_SPARSE_GROUP ? 0 : at + AQD_SPARSE_GROUP;
}

/* Block number n of a group of either half: the one at `at` is folded to x, which it gives, the one
 * at `moving` moves on. */
/*@ requires \valid(keep + (0 .. AQD_SPARSE_GROUP - 1)) && aqd_group(due.a) && aqd_group(due.b) && aqd_group(due.c) && aqd_group(due.d);
    requires n < AQD_SPARSE_GROUP && at <= moving <= SIZE_MAX - 128;
    requires \valid_read(from + (at .. moving + 127)) && (copies ==> \valid(into + (at .. moving + 127)));
    assigns keep[0 .. AQD_SPARSE_GROUP - 1], into[at .. (copies ? moving + 127 : at - 1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_in_both(__m128i x, __m128i *keep, struct aqd_due due, size_t n, unsigned char *into, const unsigned char *from, size_t at,
                                         size_t moving, bool copies)
{
    x = aqd_add(aqd_fold(x, aqd_pair(AQD_CRC32_OVER_64)), aqd_pass_16(into, from, at + 16 * n, copies));
    keep[n] = aqd_add(aqd_pass_16(into, from, moving + 16 * n, copies), aqd_due(due, n));
    return x;
}

/* Block number n of a group after both halves: it takes up what is left, and is folded to x. */
/*@ requires \valid(keep + (0 .. AQD_SPARSE_GROUP - 1)) && aqd_group(due.a) && aqd_group(due.b) && aqd_group(due.c) && aqd_group(due.d);
    requires n < AQD_SPARSE_GROUP && at <= SIZE_MAX - 128;
    requires \valid_read(from + (at .. at + 127)) && (copies ==> \valid(into + (at .. at + 127)));
    assigns keep[0 .. AQD_SPARSE_GROUP - 1], into[at .. (copies ? at + 127 : at - 1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_in_rest(__m128i x, __m128i *keep, struct aqd_due due, size_t n, unsigned char *into, const unsigned char *from, size_t at,
                                         bool copies)
{
    __m128i block = aqd_add(aqd_pass_16(into, from, at + 16 * n, copies), aqd_due(due, n));
    keep[n] = aqd_pair(0, 0);
    return aqd_add(aqd_fold(x, aqd_pair(AQD_CRC32_OVER_64)), block);
}

/* A block folded over so many units. */
/*@ requires units <= AQD_SPARSE_MOST;
    assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i aqd_fold_over_units(__m128i x, size_t units)
{
    x = units & 1 ? aqd_fold(x, aqd_pair(AQD_CRC32_OVER_1K)) : x;
    x = units & 2 ? aqd_fold(x, aqd_pair(AQD_CRC32_OVER_2K)) : x;
    x = units & 4 ? aqd_fold(x, aqd_pair(AQD_CRC32_OVER_4K)) : x;
    x = units & 8 ? aqd_fold(x, aqd_pair(AQD_CRC32_OVER_8K)) : x;
    x = units & 16 ? aqd_fold(x, aqd_pair(AQD_CRC32_OVER_16K)) : x;
    return units & 32 ? aqd_fold(x, aqd_pair(AQD_CRC32_OVER_32K)) : x;
}

/* The sum of a message of AQD_SPARSE_LONG bytes or more from a state; what passes is copied to into
 * if it copies. */
/*@ requires AQD_SPARSE_LONG <= len;
    requires \valid_read(from + (0 .. aqd_loaded(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_sum_long(uint32_t state, unsigned char *into, const unsigned char *from, size_t len, bool copies)
{
    __m128i x = aqd_add(_mm_cvtsi32_si128((int)state), aqd_pass_16(into, from, 0, copies));
    __m128i x1 = aqd_pass_16(into, from, 16, copies), x2 = aqd_pass_16(into, from, 32, copies), x3 = aqd_pass_16(into, from, 48, copies);
    struct aqd_kept kept;
    size_t at = 64;
    /*@ loop invariant 64 <= at <= len && at % 16 == 0;
        loop assigns at, x, x1, x2, x3, kept, into[0 .. (copies ? len - 1 : -1)];
        loop variant len - at; */
    while (len - at >= AQD_SPARSE_LONG - 64) {
        size_t units = (len - at - AQD_SPARSE_REST) / (2 * AQD_SPARSE_UNIT), kept_at = 0;
        units = units < AQD_SPARSE_MOST ? units : AQD_SPARSE_MOST;
        const size_t half = at + units * AQD_SPARSE_UNIT, end = half + units * AQD_SPARSE_UNIT;
        size_t moving = half;
        /*@ loop invariant 0 <= n <= AQD_SPARSE_KEPT + AQD_SPARSE_GROUP;
            loop assigns n, kept.blocks[0 .. AQD_SPARSE_KEPT + AQD_SPARSE_GROUP - 1];
            loop variant AQD_SPARSE_KEPT + AQD_SPARSE_GROUP - n; */
        for (size_t n = 0; n < AQD_SPARSE_KEPT + AQD_SPARSE_GROUP; n++) {
            kept.blocks[n] = aqd_pair(0, 0);
        }
        /*@ loop invariant \at(at, LoopEntry) <= at <= half && at % 16 == 0 && moving - at == half - \at(at, LoopEntry);
            loop invariant (half - at) % 128 == 0 && kept_at <= AQD_SPARSE_KEPT - AQD_SPARSE_GROUP && kept_at % AQD_SPARSE_GROUP == 0;
            loop assigns at, moving, kept_at, x, x1, x2, x3, kept, into[0 .. (copies ? len - 1 : -1)];
            loop variant half - at; */
        while (at < half) {
            __m128i *keep = kept.blocks + kept_at;
            const struct aqd_due due = aqd_due_at(&kept, kept_at);
            x = aqd_in_both(x, keep, due, 0, into, from, at, moving, copies);
            x1 = aqd_in_both(x1, keep, due, 1, into, from, at, moving, copies);
            x2 = aqd_in_both(x2, keep, due, 2, into, from, at, moving, copies);
            x3 = aqd_in_both(x3, keep, due, 3, into, from, at, moving, copies);
            x = aqd_in_both(x, keep, due, 4, into, from, at, moving, copies);
            x1 = aqd_in_both(x1, keep, due, 5, into, from, at, moving, copies);
            x2 = aqd_in_both(x2, keep, due, 6, into, from, at, moving, copies);
            x3 = aqd_in_both(x3, keep, due, 7, into, from, at, moving, copies);
            kept_at = aqd_kept_next(&kept, kept_at);
            at += 128;
            moving += 128;
        }
        x = aqd_fold_over_units(x, units);
        x1 = aqd_fold_over_units(x1, units);
        x2 = aqd_fold_over_units(x2, units);
        x3 = aqd_fold_over_units(x3, units);
        at = end;
        /*@ loop invariant end <= at <= end + AQD_SPARSE_REST && (at - end) % 128 == 0;
            loop invariant kept_at <= AQD_SPARSE_KEPT - AQD_SPARSE_GROUP && kept_at % AQD_SPARSE_GROUP == 0;
            loop assigns at, kept_at, x, x1, x2, x3, kept, into[0 .. (copies ? len - 1 : -1)];
            loop variant end + AQD_SPARSE_REST - at; */
        while (at < end + AQD_SPARSE_REST) {
            __m128i *keep = kept.blocks + kept_at;
            const struct aqd_due due = aqd_due_at(&kept, kept_at);
            x = aqd_in_rest(x, keep, due, 0, into, from, at, copies);
            x1 = aqd_in_rest(x1, keep, due, 1, into, from, at, copies);
            x2 = aqd_in_rest(x2, keep, due, 2, into, from, at, copies);
            x3 = aqd_in_rest(x3, keep, due, 3, into, from, at, copies);
            x = aqd_in_rest(x, keep, due, 4, into, from, at, copies);
            x1 = aqd_in_rest(x1, keep, due, 5, into, from, at, copies);
            x2 = aqd_in_rest(x2, keep, due, 6, into, from, at, copies);
            x3 = aqd_in_rest(x3, keep, due, 7, into, from, at, copies);
            kept_at = aqd_kept_next(&kept, kept_at);
            at += 128;
        }
    }
    x = aqd_bulk_on_16(x, x1, x2, x3, into, from, at, len - (len - at) % 64, 4 + (len - at) % 64 / 16, copies);
    return aqd_finish_16(x, into, from, len - (len - at) % 64, len, copies);
}

#endif
