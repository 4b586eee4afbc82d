// The observer of the firmware in three languages: sees every record, holds nothing back.
#include <aqueduct/observer.h>

namespace {

class Watch {
public:
    aqd_status join(const void *ring, size_t bytes) { return aqd_observer_init(&observer, ring, bytes); }

    // The records that were there; negative: what the library says of one, or -1000 for wrong
    // content.
    int look()
    {
        int records = 0;
        for (;; records++, number++) {
            aqd_record record;
            const aqd_status status = aqd_observer_next(&observer, buf, sizeof buf, &record);
            if (status == AQD_EMPTY) {
                return records;
            }
            if (status != AQD_OK) {
                return -static_cast<int>(status);
            }
            if (record.seq != number || record.len != number % 90) {
                return -1000;
            }
            for (uint32_t i = 0; i < record.len; i++) {
                if (buf[i] != static_cast<unsigned char>(number + i)) {
                    return -1000;
                }
            }
        }
    }

private:
    aqd_observer observer{};
    uint32_t number = 0;
    unsigned char buf[96] = {};
};

Watch watch;

} // namespace

extern "C" int mixed_join(const void *ring, size_t bytes)
{
    return static_cast<int>(watch.join(ring, bytes));
}

extern "C" int mixed_observe()
{
    return watch.look();
}
