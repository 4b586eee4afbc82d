/* Contracts: clock.h. */
#include "../compiler.h"

#include "clock.h"

#include <time.h>

int64_t aqd_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int aqd_poll_ms(int64_t deadline_ms, int slice_ms)
{
    if (deadline_ms < 0) {
        return slice_ms;
    }
    int64_t left = deadline_ms - aqd_now_ms();
    return left < 0 ? 0 : left < slice_ms ? (int)left : slice_ms;
}
