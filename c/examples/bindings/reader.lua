-- LuaJIT, by its FFI. Run: LD_LIBRARY_PATH=build luajit reader.lua SOCKET RING SUBSCRIPTION
-- Expect: a line per record (sequence number, type, payload), then: the ring was closed
local ffi = require("ffi")
ffi.cdef [[
typedef struct { uint64_t seq, timestamp_ns; uint32_t len; uint16_t type_tag; uint8_t flags, attribute_units; } aqd_record;
typedef struct aqd_client aqd_client;
int aqd_open(const char *path, const char *ring, const char *subscription, int timeout_ms, aqd_client **out);
int aqd_next_wait(aqd_client *c, void *buf, size_t cap, aqd_record *rec, int timeout_ms);
int aqd_release(aqd_client *c);
void aqd_close(aqd_client *c);
uint32_t aqd_max_payload(const aqd_client *c);
int aqd_is_end(int status), aqd_is_damage(int status);
const char *aqd_strerror(int status);
const char *aqd_message(const aqd_client *c);
]]
local aqd = ffi.load("libaqueduct.so.0")
local OK = 0

local out = ffi.new("aqd_client *[1]")
local status = aqd.aqd_open(arg[1], arg[2], arg[3], 5000, out)
local client = out[0]
if status ~= OK then
    io.stderr:write(ffi.string(aqd.aqd_strerror(status)), ": ", ffi.string(aqd.aqd_message(client)), "\n")
    os.exit(1)
end
local cap = aqd.aqd_max_payload(client)
local buffer, record, unreleased = ffi.new("char[?]", cap + 1), ffi.new("aqd_record"), 0
while aqd.aqd_is_end(status) == 0 do
    status = aqd.aqd_next_wait(client, buffer, cap, record, unreleased > 0 and 0 or -1)
    if status == OK then
        print(tonumber(record.seq), record.type_tag, ffi.string(buffer, record.len))
        unreleased = unreleased + 1
    elseif aqd.aqd_is_damage(status) ~= 0 then
        print(ffi.string(aqd.aqd_strerror(status)))
    end
    if unreleased == 64 or (unreleased > 0 and status ~= OK) then
        io.flush()
        aqd.aqd_release(client)
        unreleased = 0
    end
end
print(ffi.string(aqd.aqd_strerror(status)))
aqd.aqd_close(client)
