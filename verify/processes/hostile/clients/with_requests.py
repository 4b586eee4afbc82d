"""Python's requests, by a session."""

import requests
from ask import answer, blocking

session = requests.Session()


def post(url, body, **options):
    return session.post(url, data=body, timeout=10, **options).status_code


answer(blocking(post))
