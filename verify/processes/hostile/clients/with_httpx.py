"""Python's httpx, by a client with a pool."""

import httpx
from ask import answer, blocking

client = httpx.Client(timeout=10)


def post(url, body, **options):
    return client.post(url, content=body, **options).status_code


answer(blocking(post))
