// C++, the client owned by a unique_ptr. Build: c++ reader.cpp -laqueduct
// Run: ./a.out SOCKET RING SUBSCRIPTION
// Expect: a line per record (sequence number, type, payload), then: the ring was closed
#include <aqueduct/client.h>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct Close {
    void operator()(aqd_client *c) const { aqd_close(c); }
};
using Client = std::unique_ptr<aqd_client, Close>;

static Client open_ring(const char *path, const char *ring, const char *subscription) {
    aqd_client *c = nullptr;
    const aqd_status status = aqd_open(path, ring, subscription, 5000, &c);
    Client client(c);
    if (status != AQD_OK) throw std::runtime_error(std::string(aqd_strerror(status)) + ": " + aqd_message(c));
    return client;
}

int main(int argc, char **argv) try {
    const Client client = open_ring(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
    std::vector<char> buffer(aqd_max_payload(client.get()));
    aqd_record record;
    aqd_status status = AQD_OK;
    for (unsigned unreleased = 0; !aqd_is_end(status);) {
        status = aqd_next_wait(client.get(), buffer.data(), buffer.size(), &record, unreleased > 0 ? 0 : -1);
        if (status == AQD_OK && ++unreleased > 0)
            std::cout << record.seq << ' ' << record.type_tag << ' ' << std::string(buffer.data(), record.len) << '\n';
        else if (aqd_is_damage(status)) std::cout << aqd_strerror(status) << '\n';
        if (unreleased == 64 || (unreleased > 0 && status != AQD_OK)) {
            std::cout.flush();
            aqd_release(client.get());
            unreleased = 0;
        }
    }
    std::cout << aqd_strerror(status) << '\n';
} catch (const std::exception &e) {
    return std::cerr << e.what() << '\n', 1;
}
