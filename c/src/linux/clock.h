/* The client's clock and how long a poll may last by it. */
#ifndef AQUEDUCT_LINUX_CLOCK_H
#define AQUEDUCT_LINUX_CLOCK_H

#include "../compiler.h"

/* Every sleep has a timeout, so that a lost wake-up, whoever lost it, costs no more than this. */
#define AQD_SLEEP_SLICE_MS 500

/* CLOCK_MONOTONIC in milliseconds. */
AQD_INTERNAL int64_t aqd_now_ms(void);

/* How long a poll may still sleep: 0..slice_ms; a negative deadline_ms is no deadline. */
AQD_INTERNAL int aqd_poll_ms(int64_t deadline_ms, int slice_ms);

#endif
