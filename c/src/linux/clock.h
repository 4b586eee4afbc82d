/* The client's clock, and how long a poll may last. */
#ifndef AQUEDUCT_LINUX_CLOCK_H
#define AQUEDUCT_LINUX_CLOCK_H

#include "../compiler.h"

/* Bounds every sleep, so that a lost wake-up costs no more than this, whichever side lost it. */
#define AQD_SLEEP_SLICE_MS 500

/* CLOCK_MONOTONIC in milliseconds. */
AQD_INTERNAL int64_t aqd_now_ms(void);

/* The timeout for the next poll(): what is left until deadline_ms (by aqd_now_ms), within
 * 0..slice_ms. A negative deadline_ms means that there is none: slice_ms. */
AQD_INTERNAL int aqd_poll_ms(int64_t deadline_ms, int slice_ms);

#endif
