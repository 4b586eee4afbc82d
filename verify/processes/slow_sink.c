/* Makes the moments long that a kill must not be able to use: around the sink's commit and its
 * release, which alone take microseconds. Linked with c/examples/sqlite_sink.c by
 * sqlite_kill_loop.sh, with --wrap for both functions. The sink itself is not changed. */
#define _GNU_SOURCE 1
#include <sqlite3.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "aqueduct/client.h"

aqd_status __real_aqd_release(aqd_client *c);
aqd_status __wrap_aqd_release(aqd_client *c);
int __real_sqlite3_exec(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **), void *data, char **error);
int __wrap_sqlite3_exec(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **), void *data, char **error);

/* Not at all, for up to 30 ms, or for up to 150: long enough for a listener to die and return. */
static void linger(void)
{
    static unsigned state;
    if (state == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        state = (unsigned)now.tv_nsec ^ (unsigned)getpid();
    }
    int dice = rand_r(&state) % 8;
    if (dice > 3) {
        usleep((unsigned)rand_r(&state) % (dice == 7 ? 150000 : 30000));
    }
}

aqd_status __wrap_aqd_release(aqd_client *c)
{
    linger();
    aqd_status status = __real_aqd_release(c);
    linger();
    return status;
}

int __wrap_sqlite3_exec(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **), void *data, char **error)
{
    int result = __real_sqlite3_exec(db, sql, row, data, error);
    linger();
    return result;
}
