/* A program outside the tree, in what C11 and C++17 have in common: tests/packaging.sh builds it in
 * every way that a package offers. Expect: installed, and exit status 0. */
#ifdef AMALGAMATED
#include "aqueduct.h"
#else
#include <aqueduct/client.h>
#endif
#include <stdio.h>
#include <string.h>

int main(void)
{
    aqd_client *c;
    if (aqd_open("/nonexistent/aqueduct.sock", "", "", 0, &c) != AQD_ERR_SYSTEM) {
        return 1;
    }
    const char *message = aqd_message(c);
    if (strncmp(message, "connect", 7) != 0) {
        fprintf(stderr, "%s\n", message);
        return 2;
    }
    aqd_close(c);

    /* From the freestanding half, so that a linker must find both. */
    static uint64_t memory[32];
    aqd_observer observer;
    if (aqd_observer_init(&observer, memory, sizeof memory) == AQD_OK) {
        return 3;
    }
    puts("installed");
    return 0;
}
