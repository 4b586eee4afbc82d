"""What `grpc` runs: calls of Python's grpcio, and the records that they leave."""

import sys

import grpc
import ring
from aqueduct.v1 import publisher_pb2, publisher_pb2_grpc
from listener import Listener

CONFIG = """
[[ring]]
name = "a"
capacity_bytes = "64MiB"
max_payload_bytes = "1MiB"

[[ring]]
name = "small"
capacity_bytes = 4096
max_payload_bytes = 1000
full_wait_ms = 50
"""


def refused(call, code, what):
    """Calls, which is to end with a status; the error."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{what}: {error.code()}, not {code}: {error.details()}"
        return error
    raise AssertionError(f"{what}: it is taken")


def main():
    records = int(sys.argv[1])
    with Listener(config=CONFIG) as listener:
        host, port = listener.http
        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"{host}:{port}", options=options) as channel:
            publisher = publisher_pb2_grpc.PublisherStub(channel)
            request = publisher_pb2.PublishRequest
            expected = []
            for number in range(records):
                payload = b"%d" % number
                answer = publisher.Publish(request(ring="a", type=number % 7, payload=payload))
                assert answer.seq == len(expected), (answer.seq, len(expected))
                expected.append((answer.seq, number % 7, payload))
            streamed = [bytes([number % 256]) * (number % 3000) for number in range(records)]
            answer = publisher.PublishStream(request(ring="a", payload=payload) for payload in streamed)
            assert answer.taken == records and answer.first_seq == records, answer
            expected += [(records + at, 0, payload) for at, payload in enumerate(streamed)]
            large = b"x" * (1 << 20)
            expected.append((publisher.Publish(request(ring="a", payload=large)).seq, 0, large))
            found = ring.records(listener.socket, "a")
            assert found == expected, f"{len(found)} records, {len(expected)} answered"

            code = grpc.StatusCode
            one = publisher.Publish
            refused(lambda: one(request(ring="none", payload=b"x")), code.NOT_FOUND, "another ring")
            refused(lambda: one(request(ring="a", type=65536)), code.INVALID_ARGUMENT, "a large type")
            refused(lambda: one(request(ring="a", payload=large + b"x")), code.OUT_OF_RANGE, "a byte more")
            refused(lambda: one(request(ring="a", payload=large * 5)), code.OUT_OF_RANGE, "five times")
            many = (request(ring="small", payload=b"y" * 500) for _ in range(1000))
            full = refused(lambda: publisher.PublishStream(many), code.UNAVAILABLE, "a full ring")
            told = dict(full.trailing_metadata())
            taken = int(told["aqueduct-taken"])
            in_ring = ring.records(listener.socket, "small")
            assert len(in_ring) == taken > 0, (len(in_ring), told)
            assert int(told["aqueduct-last-seq"]) == taken - 1, told
            level = [("aqueduct-acknowledge", "consumed;within=50")]
            late = refused(
                lambda: one(request(ring="a", payload=b"z"), metadata=level), code.DEADLINE_EXCEEDED, "no reader"
            )
            assert dict(late.trailing_metadata())["aqueduct-seq"] == str(len(expected))
        assert "panicked" not in listener.log()
    print(f"grpc: {2 * records + 1} records answered and in the ring, 6 refusals as they are to be")


if __name__ == "__main__":
    main()
