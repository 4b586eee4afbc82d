# core/src/transfer.rs: state_machine: read_record: the timestamp is not that of the record
s/of_numbers(\[first.get(), seq, timestamp_ns, 0\])/of_numbers([first.get(), seq, timestamp_ns ^ 1, 0])/
