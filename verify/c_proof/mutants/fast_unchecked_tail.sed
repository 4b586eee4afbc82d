# reader.c reader_next_fast: the length is not held against the tail
s/(unread < room ? unread : room) - 1/room - 1/
