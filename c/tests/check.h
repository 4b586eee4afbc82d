/* The test harness: a test is a function whose name is a sentence. */
#ifndef AQUEDUCT_TESTS_CHECK_H
#define AQUEDUCT_TESTS_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static int tests_passed, tests_failed;
static bool test_ok;

/* Reports a false condition and goes on with the test. */
#define CHECK(condition)                                                                                                                   \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            printf("  %s:%d: %s\n", __FILE__, __LINE__, #condition);                                                                       \
            test_ok = false;                                                                                                               \
        }                                                                                                                                  \
    } while (0)

/* The same for two integers, with their values. */
#define CHECK_EQ(left, right)                                                                                                              \
    do {                                                                                                                                   \
        long long l_ = (long long)(left), r_ = (long long)(right);                                                                         \
        if (l_ != r_) {                                                                                                                    \
            printf("  %s:%d: %s is %lld (0x%llx), expected %s, %lld (0x%llx)\n", __FILE__, __LINE__, #left, l_, (unsigned long long)l_,    \
                   #right, r_, (unsigned long long)r_);                                                                                    \
            test_ok = false;                                                                                                               \
        }                                                                                                                                  \
    } while (0)

static inline void run_test(void (*test)(void), const char *name)
{
    test_ok = true;
    test();
    tests_passed += test_ok;
    tests_failed += !test_ok;
    fputs(test_ok ? "ok - " : "not ok - ", stdout);
    for (; *name; name++) {
        putchar(*name == '_' ? ' ' : *name);
    }
    putchar('\n');
    fflush(stdout);
}

#define RUN(test) run_test(test, #test)

static inline int finish_tests(void)
{
    printf("%d passed, %d failed\n", tests_passed, tests_failed);
    return tests_failed != 0;
}

/* xorshift64*, the same numbers every time. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

#endif
