"""Times itsdangerous as Flask uses it, on the session of the other benchmarks: microseconds of CPU, the best of 15 runs."""

import json
import time
import timeit
from pathlib import Path

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer
from itsdangerous.encoding import base64_encode

SESSION = json.loads((Path(__file__).parent.parent / "peers/src/session.json").read_text())


class Plain(URLSafeTimedSerializer):
    """The same without an attempt to compress."""

    def dump_payload(self, obj):
        return base64_encode(self.dump_payload_json(obj))

    def dump_payload_json(self, obj):
        return self.serializer.dumps(obj).encode()


def serializer(of):
    app = Flask(__name__)
    app.secret_key = "0123456789abcdef0123456789abcdef"
    made = SecureCookieSessionInterface().get_signing_serializer(app)
    made.__class__ = of
    return made


def best(call):
    return min(timeit.repeat(call, timer=time.thread_time, number=2000, repeat=15)) / 2000 * 1e6


if __name__ == "__main__":
    for name, of in [("plain", Plain), ("compressed", URLSafeTimedSerializer)]:
        made = serializer(of)
        token = made.dumps(SESSION)
        assert made.loads(token) == SESSION
        assert token.startswith(".") == (name == "compressed"), token
        print(f"python/commit/{name}\t{best(lambda: made.dumps(SESSION)):.3f}")
        print(f"python/open/{name}\t{best(lambda: made.loads(token)):.3f}")
