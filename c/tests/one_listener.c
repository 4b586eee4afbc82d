/* A listener for programs in other languages: accepts one reader, publishes three records, the
 * second of them damaged, and closes the ring. Run: one_listener     Expect: the path of its
 * socket */
#define _GNU_SOURCE 1
#include "fake_listener.h"

int main(void)
{
    static struct fake f;
    fake_start(&f);
    fake_answer(&f);
    writer_data(&f.w, 7, "zero", 4);
    uint32_t at = writer_data(&f.w, 8, "spoiled", 7);
    f.w.ring[FAKE_OFFSET + at % FAKE_CAPACITY * 32 + 32] ^= 1;
    writer_data(&f.w, 9, "two", 3);
    writer_publish(&f.w);
    puts(f.path);
    fflush(stdout);
    fake_join(&f);
    poll(NULL, 0, 50); /* the reader sleeps by now, or not: it is woken */
    writer_close(&f.w);
    fake_wake(&f);
    char gone;
    while (recv(f.connection, &gone, 1, 0) > 0) {
    }
    int released = (int)aqd_le32(__atomic_load_n((uint32_t *)(void *)(f.w.cursor + AQD_CURSOR_CURSOR), __ATOMIC_ACQUIRE));
    fake_free(&f);
    return released >= 6 ? 0 : 1;
}
