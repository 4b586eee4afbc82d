"""What a program on redis-py sees: `with_redis.py PORT RING`."""

import sys

import redis

port, ring = int(sys.argv[1]), sys.argv[2]
client = redis.Redis(host="127.0.0.1", port=port)
number = lambda reply: reply.decode().split("-")[1]
seen = [number(client.xadd(ring, {"data": "one"}))]
seen.append(number(client.xadd(ring, {"data": bytes(range(256)), "type": 7})))
seen.append(client.rpush(ring, "a", "b", "c"))
seen.append(client.publish(ring, "pub"))
with client.pipeline(transaction=False) as pipeline:
    for n in range(100):
        pipeline.xadd(ring, {"data": f"p{n}"})
    seen.append(len([reply for reply in pipeline.execute() if b"-" in reply]))
try:
    seen.append(number(client.xadd(ring, {"data": b"\0" * 2000})))
except redis.ResponseError:
    seen.append("refused")
seen.append(client.xlen(ring))
print(*seen)
