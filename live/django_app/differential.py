"""Django's engine signed_cookies, behind a pipe: a list of questions a line, a list of answers a line, in JSON.

    {"op": "write", "session": typed}          -> {"cookie": value, "text": JSON before compression}
    {"op": "read", "header": Cookie header}    -> {"session": typed}

The first line is the settings: {"secret": text, "fallbacks": [...], "now": Unix seconds}. The clock stands still.
Ends with its standard input.
"""

import json
import sys
import zlib
from types import SimpleNamespace

from django.conf import settings

from typed import from_typed, to_typed

setup = json.loads(sys.stdin.readline())
settings.configure(SECRET_KEY=setup["secret"], SECRET_KEY_FALLBACKS=setup["fallbacks"], USE_TZ=True)

from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core import signing
from django.http import parse_cookie

signing.time = SimpleNamespace(time=lambda: setup["now"])


def text_of(cookie):
    """The JSON in a cookie."""
    payload = cookie.rsplit(":", 2)[0]
    data = signing.b64_decode(payload.lstrip(".").encode())
    return (zlib.decompress(data) if payload.startswith(".") else data).decode("ascii")


def write(question):
    session = SessionStore()
    session.update(from_typed(question["session"]))
    session.save()
    return {"cookie": session.session_key, "text": text_of(session.session_key)}


def read(question):
    session = SessionStore(parse_cookie(question["header"]).get("sessionid"))
    return {"session": to_typed(dict(session.items()))}


ANSWERS = {"write": write, "read": read}

for line in sys.stdin:
    answers = [ANSWERS[question["op"]](question) for question in json.loads(line)]
    print(json.dumps(answers), flush=True)
