"""Times Django's signed cookies on the session of the other benchmarks: microseconds of CPU, the best of 15 runs."""

import time
import timeit

import django
from django.conf import settings
from time_flask import SESSION

settings.configure(
    SECRET_KEY="0123456789abcdef0123456789abcdef0123456789abcdef01",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
django.setup()

from django.contrib.sessions.backends.signed_cookies import SessionStore  # noqa: E402 (after the settings)


def best(call):
    return min(timeit.repeat(call, timer=time.thread_time, number=500, repeat=15)) / 500 * 1e6


def commit():
    store = SessionStore()
    store._session_cache = SESSION
    store.save()
    return store.session_key


token = commit()
assert SessionStore(token).load() == SESSION
print(f"django/commit/django\t{best(commit):.3f}")
print(f"django/open/django\t{best(lambda: SessionStore(token).load()):.3f}")
