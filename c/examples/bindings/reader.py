"""Python, by ctypes. Run: LD_LIBRARY_PATH=build python3 reader.py SOCKET RING SUBSCRIPTION
Expect: a line per record (sequence number, type, payload), then: the ring was closed"""
import ctypes
import sys

OK, EMPTY, INTERRUPTED = 0, 1, 4


class Record(ctypes.Structure):
    _fields_ = [("seq", ctypes.c_uint64), ("timestamp_ns", ctypes.c_uint64), ("len", ctypes.c_uint32),
                ("type_tag", ctypes.c_uint16), ("flags", ctypes.c_uint8), ("attribute_units", ctypes.c_uint8)]


aqd = ctypes.CDLL("libaqueduct.so.0")
client = ctypes.c_void_p()
aqd.aqd_strerror.restype = aqd.aqd_message.restype = ctypes.c_char_p
aqd.aqd_message.argtypes = aqd.aqd_max_payload.argtypes = aqd.aqd_release.argtypes = [ctypes.c_void_p]
aqd.aqd_close.argtypes = [ctypes.c_void_p]
aqd.aqd_next_wait.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(Record), ctypes.c_int]

names = [name.encode() for name in sys.argv[1:4]]
status = aqd.aqd_open(names[0], names[1], names[2], 5000, ctypes.byref(client))
if status != OK:
    sys.exit(f"{aqd.aqd_strerror(status).decode()}: {aqd.aqd_message(client).decode()}")
buffer, record, unreleased = ctypes.create_string_buffer(aqd.aqd_max_payload(client)), Record(), 0
while not aqd.aqd_is_end(status):
    # 500 ms at a time, so that Python sees Ctrl-C.
    status = aqd.aqd_next_wait(client, buffer, len(buffer), ctypes.byref(record), 0 if unreleased else 500)
    if status == OK:
        print(record.seq, record.type_tag, buffer.raw[:record.len].decode())
        unreleased += 1
    elif aqd.aqd_is_damage(status):
        print(aqd.aqd_strerror(status).decode())
    if unreleased == 64 or (unreleased and status != OK):
        sys.stdout.flush()
        aqd.aqd_release(client)
        unreleased = 0
print(aqd.aqd_strerror(status).decode())
aqd.aqd_close(client)
