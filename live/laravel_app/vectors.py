"""Makes vectors/laravel.json from real Laravel applications: what they write, and what they refuse.

    python3 live/laravel_app/vectors.py live/.laravel-8/php live/.laravel-13/php > vectors/laravel.json

The two programs are what `cargo xtask live laravel` unpacks. Ids, tokens and keys are fixed; initialization vectors are Laravel's.
"""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.parse

APP = pathlib.Path(__file__).with_name("app.php")
COOKIE = "laravel_session"
ID = "MainLaravelId0123456789abcdefghijABCDEFG"
TOKEN = "MainLaravelToken0123456789abcdefghijABCD"
LOGIN = "login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d"


def key(letter, length):
    return "base64:" + base64.b64encode(letter.encode() * length).decode()


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextlib.contextmanager
def running(command, port, **environment):
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


class Server:
    """A redis-server, asked in its own protocol."""

    def __init__(self, port):
        self.port, self.socket = port, socket.create_connection(("127.0.0.1", port))

    def ask(self, *words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(b"*%d\r\n" % len(words) + parts)
        return self.socket.recv(65536)


class Laravel:
    def __init__(self, port):
        self.port = port

    def ask(self, path, body=None, cookie=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"content-type": "application/json", **({"cookie": cookie} if cookie else {})}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, (path, answer.status, text)
        return text


def config(release, cipher="AES-256-CBC", serialization="php", encrypt=False, letter="k", **more):
    length = 32 if "256" in cipher else 16
    return {
        "app_key": key(letter, length),
        "cipher": cipher,
        "cookie_name": COOKIE,
        # Laravel 8 ends the cache's prefix with a colon.
        "prefix": "main_cache:" if release == 8 else "main_cache",
        "serialization": serialization,
        "encrypt": encrypt,
        "lifetime_minutes": 120,
        **more,
    }


def configs(release):
    for cipher in ("AES-256-CBC", "AES-256-GCM", "AES-128-CBC", "AES-128-GCM"):
        yield cipher.lower(), config(release, cipher)
    yield "encrypted", config(release, encrypt=True)
    yield "encrypted-gcm", config(release, "AES-256-GCM", encrypt=True)
    if release > 8:
        yield "json", config(release, serialization="json")
        yield "json-encrypted", config(release, serialization="json", encrypt=True)


def number(text, bits):
    return {"$t": "float", "v": text, "bits": bits}


KINDS = {
    "text": "Zoë \0\x1f\x7f\u2028 🧪 </script> & / more", "empty": "", "t": True, "f": False, "none": None,
    "int": 9007199254740991, "negative": -1, "long": {"$t": "int", "v": "-9223372036854775808"},
    "half": number("0.5", "3fe0000000000000"), "tiny": number("5.0e-324", "0000000000000001"),
    "third": number("0.3333333333333333", "3fd5555555555555"), "large": number("1.0e+25", "45208b2a2c280291"),
    "<name> 🧪/": {"two": "2", "z": {"deep": [{"deeper": None}]}, "": []}, "list": [1, [2, []], "x"],
}
SESSIONS = {
    "token-alone": {},
    "cart": {"cart": [1, 2], "user": {"name": "Ada", "admin": False}},
    "kinds": KINDS,
    # What is flashed in a request is `old` once it has been saved.
    "flash": {"_flash": {"old": [], "new": ["status", "errors2"]}, "status": "Saved", "errors2": ["one", "two"]},
    "previous": {"_previous": {"url": "http://localhost/page?a=1"}},
    "login-number": {LOGIN: 7},
    "login-text": {LOGIN: "ada", "password_hash_web": "$2y$04$hash"},
}
# What JSON has no words for, or other ones.
PHP_SESSIONS = {
    "php-floats": {
        "one": number("1.0", "3ff0000000000000"), "minus": number("-0.0", "8000000000000000"),
        "inf": number("inf", "7ff0000000000000"),
    },
    "php-keys": {"array": {"$t": "map", "v": [[5, "five"], ["x", 1], [-1, []]]}, "bytes": {"$t": "bytes", "v": "ff00fe"}},
}


def payload(cookie):
    return json.loads(base64.b64decode(urllib.parse.unquote(cookie)))


def sealed(parts):
    text = base64.b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode()
    return urllib.parse.quote(text, safe="")


def string(text):
    return b's:%d:"%s";' % (len(text), text)


class File:
    def __init__(self):
        self.configs, self.vectors, self.releases = {}, [], []

    def add(self, name, release, config, outcome, **vector):
        vector = {"id": f"laravel/{name}", "kind": "store", "framework": f"Laravel {release}", "config": config,
                  "time": {}, **vector, "expect": outcome}
        vector.setdefault("reencode", "none")
        if "request_cookie" not in vector:
            vector["request_cookie"] = f"{COOKIE}={vector['cookie_value']}"
        self.vectors.append(vector)


def store(answer):
    return {"backend": "redis", "type": "string", "key": answer["name"], "value_hex": answer["record"],
            "ttl_seconds": answer["ttl"]}


def make(file, php, redis):
    code = "require 'Illuminate/autoload.php'; echo Illuminate\\Foundation\\Application::VERSION;"
    said = subprocess.run([php, "-d", "error_reporting=0", "-r", code], capture_output=True, text=True, check=True)
    release = int(said.stdout.strip().split(".")[0])

    def start(settings):
        port = free_port()
        environment = {
            "APP_KEY": settings["app_key"], "OLD_KEYS": ",".join(settings.get("previous_keys", [])),
            "CIPHER": settings["cipher"], "SERIALIZATION": settings["serialization"],
            "ENCRYPT": "1" if settings["encrypt"] else "0", "REDIS_PORT": str(redis.port),
            "REDIS_PREFIX": "main_", "CACHE_PREFIX": "cache",
        }
        return running([php, "-S", f"127.0.0.1:{port}", str(APP)], port, **environment), Laravel(port)

    def ask(laravel, **asked):
        asked = {"id": ID, **asked, "session": {"_token": TOKEN, **asked.get("session", {})}}
        return json.loads(laravel.ask("/_test/write", json.dumps([asked])))[0]

    def is_read(laravel, cookie, record, name, marker):
        redis.ask("FLUSHALL")
        if record is not None:
            redis.ask("SET", name, record)
        return marker in laravel.ask("/_test/get", cookie=cookie)

    version = None
    for short, settings in configs(release):
        named = f"{release}-{short}"
        file.configs[named] = settings
        server, laravel = start(settings)
        with server:
            version = laravel.ask("/_test/version")
            sessions = {**SESSIONS, **(PHP_SESSIONS if settings["serialization"] == "php" else {})}
            for what, session in sessions.items():
                answer = ask(laravel, session=session)
                vector = {
                    "sid": ID, "session": answer["session"], "cookie_value": answer["cookie"], "store": store(answer),
                    "intermediate": {"iv_hex": base64.b64decode(payload(answer["cookie"])["iv"]).hex()},
                    "reencode": "none" if settings["encrypt"] else "exact_given_random",
                }
                if not settings["encrypt"]:
                    text = bytes.fromhex(answer["record"]).split(b'"', 1)[1][:-2]
                    with contextlib.suppress(UnicodeDecodeError):
                        vector["plaintext"] = text.decode()
                file.add(f"{named}/{what}", version, named, {"outcome": "valid", "framework_result": "session loaded"}, **vector)
            # The same of each mode and nesting once.
            if "128" not in short and short != "encrypted-gcm":
                refused(file, named, version, settings, laravel, ask, is_read)
    if release > 8:
        former = config(release, letter="o")
        rotated = config(release, letter="n", previous_keys=[former["app_key"]])
        file.configs |= {f"{release}-former": former, f"{release}-rotated": rotated}
        server, laravel = start(former)
        with server:
            answer = ask(laravel, session={"marker": 1})
        server, laravel = start(rotated)
        with server:
            record = bytes.fromhex(answer["record"])
            assert is_read(laravel, f"{COOKIE}={answer['cookie']}", record, answer["name"], "marker")
        file.add(f"{release}-rotated/previous-key", version, f"{release}-rotated",
                 {"outcome": "valid", "framework_result": "session loaded"}, minted_with_config=f"{release}-former",
                 sid=ID, session=answer["session"], cookie_value=answer["cookie"], store=store(answer))
    file.releases.append(version)


def refused(file, named, version, settings, laravel, ask, is_read):
    """What is made of a good session and shown to Laravel, which reads nothing in it."""
    good = ask(laravel, session={"marker": 1})
    cookie, record, name = good["cookie"], bytes.fromhex(good["record"]), good["name"]
    parts = payload(cookie)
    assert is_read(laravel, f"{COOKIE}={cookie}", record, name, "marker"), named
    is_gcm = "GCM" in settings["cipher"]
    other = lambda text: ("B" if text[0] != "B" else "C") + text[1:]
    mark = "tag" if is_gcm else "mac"
    says = lambda **asked: ask(laravel, session={"marker": 1}, **asked)["cookie"]
    cookies = {
        "changed-value": ("bad_signature", sealed({**parts, "value": other(parts["value"])})),
        "changed-iv": ("bad_signature", sealed({**parts, "iv": other(parts["iv"])})),
        f"changed-{mark}": ("bad_signature", sealed({**parts, mark: other(parts[mark])})),
        "without-value": ("malformed", sealed({name: part for name, part in parts.items() if name != "value"})),
        "tag-of-the-other-mode": ("malformed", sealed({**parts, "tag": "" if is_gcm else "QUFBQUFBQUFBQUFBQUFBQQ=="})),
        "cut": ("malformed", cookie[: len(cookie) // 2]),
        "no-json": ("malformed", "bm8ganNvbg%3D%3D"),
        "of-another-cookie": ("bad_purpose", says(cookie="other_session")),
        "short-id": ("malformed", says(says=ID[:39])),
        "long-id": ("malformed", says(says=ID + "x")),
        "strange-id": ("malformed", says(says=ID[:39] + "/")),
    }
    for what, (reason, value) in cookies.items():
        assert not is_read(laravel, f"{COOKIE}={value}", record, name, "marker"), (named, what)
        file.add(f"{named}/{what}", version, named,
                 {"outcome": "invalid", "reason": reason, "framework_result": "an empty session"},
                 cookie_value=value, store=store(good), mutation=what, mutation_of=f"laravel/{named}/cart")
    text = record.split(b'"', 1)[1][:-2]
    records = {
        "record-cut": record[:-9],
        "record-of-another-length": b"s:1" + record[2:],
        "record-once-serialized": text,
        "record-of-another-form": string(b'a:1:{s:6:"marker";i:1;}' if settings["encrypt"] or settings["serialization"] == "json" else b'{"marker":1}'),
        "record-no-array": string(b"i:1;"),
        "record-empty": b"",
    }
    for what, bytes_ in records.items():
        assert not is_read(laravel, f"{COOKIE}={cookie}", bytes_, name, "marker"), (named, what)
        file.add(f"{named}/{what}", version, named,
                 {"outcome": "invalid", "reason": "malformed", "framework_result": "an empty session"},
                 sid=ID, cookie_value=cookie, store={**store(good), "value_hex": bytes_.hex()}, mutation=what,
                 mutation_of=f"laravel/{named}/cart")
    assert not is_read(laravel, f"{COOKIE}={cookie}", None, name, "marker"), named
    file.add(f"{named}/no-record", version, named, {"outcome": "valid", "framework_result": "an empty session"},
             session={}, cookie_value=cookie, store=None)


def main():
    file, port = File(), free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with running(command, port):
        for php in sys.argv[1:]:
            make(file, php, Server(port))
    outcome = lambda name: sum(vector["expect"]["outcome"] == name for vector in file.vectors)
    whole = {
        "schema": "session-interop/1", "set": "own", "format": "laravel", "runtime": "PHP",
        "packages": {f"laravel {release.split('.')[0]}": release for release in file.releases},
        "counts": {"valid": outcome("valid"), "invalid": outcome("invalid"), "lenient": 0},
        "configs": file.configs, "vectors": file.vectors,
    }
    print(json.dumps(whole, indent=1))


main()
