# reader.c reader_next_fast: the length is not held against the end of the ring
s/(unread < room ? unread : room) - 1/unread - 1/
