"""Makes vectors/symfony.json from real Symfony applications: what they write, and what they refuse.

    python3 live/symfony_app/vectors.py live/.php-bookworm/php live/.php-sid/php > vectors/symfony.json

The two programs are what `cargo xtask live symfony` unpacks. Ids and times are Symfony's; what was not written within one second is written again.
"""

import contextlib
import http.client
import http.cookies
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

APP = pathlib.Path(__file__).with_name("app.php")
COOKIE = "PHPSESSID"
PREFIX = "sf_s"
META = re.compile(rb's:1:"u";i:(\d+);s:1:"c";i:(\d+);s:1:"l";i:(\d+);')


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


class Redis:
    """A redis-server, asked in its own protocol."""

    def __init__(self, port):
        self.port, self.file = port, socket.create_connection(("127.0.0.1", port)).makefile("rwb")

    def ask(self, *words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.file.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        self.file.flush()
        line = self.file.readline().rstrip()
        if line[:1] != b"$":
            return line[1:]
        length = int(line[1:])
        return None if length < 0 else self.file.read(length + 2)[:-2]

    def store(self, sid):
        key = PREFIX + sid
        record = self.ask("GET", key)
        ttl = int(self.ask("TTL", key))
        return record and ({"backend": "redis", "type": "string", "key": key, "value_hex": record.hex(), "ttl_seconds": ttl}, record)

    def put(self, sid, record):
        self.ask("SET", PREFIX + sid, record, "EX", 1440)

    environment = property(lambda self: {"REDIS_PORT": str(self.port)})


class Files:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def store(self, sid):
        file = self.folder / f"sess_{sid}"
        if not file.exists():
            return None
        record = file.read_bytes()
        return {"backend": "file", "name": file.name, "value_hex": record.hex()}, record

    def put(self, sid, record):
        (self.folder / f"sess_{sid}").write_bytes(record)

    environment = property(lambda self: {"SAVE": str(self.folder)})


class Visitor:
    """One browser at one application."""

    def __init__(self, port, sid=None):
        self.port, self.sid, self.raw = port, sid, None

    def ask(self, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"cookie": f"{COOKIE}={self.sid}"} if self.sid else {}
        text = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", "/_test/" + path, text, headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        assert answer.status in (200, 204), (path, answer.status, said)
        for raw in answer.msg.get_all("set-cookie") or []:
            (morsel,) = http.cookies.SimpleCookie(raw).values()
            self.sid, self.raw = morsel.value, raw
        return said

    def session(self):
        """The attributes as typed JSON, and the messages as the entry that they are."""
        session = json.loads(self.ask("get"))
        types = {}
        for category, message in json.loads(self.ask("flashes")):
            types.setdefault(category, []).append(message)
        if types:
            integers = [category for category in types if str(category).lstrip("-").isdigit()]
            pairs = [[int(category) if category in integers else category, messages] for category, messages in types.items()]
            flashes = {"$t": "map", "v": pairs} if integers else types
            if "$t" in session:
                session["v"].append(["_symfony_flashes", flashes])
            else:
                session["_symfony_flashes"] = flashes
        return session


def number(text, bits):
    return {"$t": "float", "v": text, "bits": bits}


KINDS = {
    "text": "Zoë \0\x1f\x7f\u2028 🧪 </script> & / more", "empty": "", "t": True, "f": False, "none": None,
    "zero": 0, "int": 9007199254740991, "negative": -1,
    "long": {"$t": "int", "v": "-9223372036854775808"}, "longest": {"$t": "int", "v": "9223372036854775807"},
    "half": number("0.5", "3fe0000000000000"), "tiny": number("5.0e-324", "0000000000000001"),
    "third": number("0.3333333333333333", "3fd5555555555555"), "large": number("1.0e+25", "45208b2a2c280291"),
    # As near to 3 as to 2 at its end.
    "tie": number("596343834389432.2", "4300f2f8f34d5dc2"), "tie too": number("-12257122512945.812", "c2a64baadde063a0"),
    "one": number("1.0", "3ff0000000000000"), "minus": number("-0.0", "8000000000000000"),
    "inf": number("inf", "7ff0000000000000"), "bytes": {"$t": "bytes", "v": "ff00fe"},
}
HOSTILE = {
    "a|b": "x", "_sf2_meta|": 's:1:"u";', "name|s:1:\"x\";user|i:1;": "\x01user|i:1;", "\x03uid": "}i:0;}",
    "": "no name", "Zoë 🧪": 1, "a" * 200: 2,
}
LOG_INS = [
    ("UsernamePasswordToken", "ann"), ("UsernamePasswordToken", "ann@example.org"), ("RememberMeToken", "ann"),
    ("PostAuthenticationToken", "ann"), ("SwitchUserToken", "ann"),
]


def steps():
    """What a vector's visit consists of."""
    yield "one", [("set", {"a": 1})]
    yield "cart", [("set", {"cart": [3, 1, 2], "user": {"name": "Ada", "admin": False}})]
    yield "kinds", [("set", KINDS)]
    nested = {"list": [[], [None, {"deep": [{"deeper": "é"}]}], "x"], "z": {"b": 2, "a": {"": []}}, "empty": []}
    yield "nested", [("set", nested)]
    yield "keys", [("set", {"$t": "map", "v": [
        [5, "five"], ["x", {"$t": "map", "v": [[7, "seven"], ["07", 7], [-1, {"$t": "map", "v": [[1, 2]]}]]}], [-1, []]
    ]})]
    yield "hostile-names", [("set", HOSTILE)]
    yield "long-text", [("set", {"text": "0123456789" * 40})]
    # Bags of both in one request, so that they are in the order of a new session.
    yield "flash-alone", [("flash", {"category": "notice", "message": "hello"})]
    yield "flash-of-a-number", [("flash", {"category": "5", "message": "five"})]
    yield "flash-of-a-list", [("flash", {"category": "error", "message": ["a", {"b": None}]})]
    yield "flash-with-attributes", [("visit", {"set": {"a": 1}, "flash": [["notice", "one"], ["error", "two"], ["notice", "three"]]})]
    for token, user in LOG_INS:
        yield f"security-{token}{'-email' if '@' in user else ''}", [("security", {"token": token, "user": user})]
    yield "csrf", [("set", {"_csrf/https-form": "0123456789abcdef", "_csrf/other": "x"})]


class File:
    def __init__(self):
        self.configs, self.vectors, self.releases = {}, [], []

    def add(self, name, release, config, outcome, **vector):
        vector.setdefault("reencode", "none")
        vector["request_cookie"] = f"{COOKIE}={vector['sid']}"
        self.vectors.append({"id": f"symfony/{name}", "kind": "store", "framework": f"Symfony {release}", "config": config,
                             **vector, "expect": outcome})


LOADED = {"outcome": "valid", "framework_result": "session loaded"}
EMPTY = {"outcome": "invalid", "reason": "malformed", "framework_result": "an empty session"}


def cookie_of(raw):
    (morsel,) = http.cookies.SimpleCookie(raw).values()
    attributes = {name: value for name, value in morsel.items() if value}
    return {"raw": raw, "name": COOKIE, "value": morsel.value, "attributes": attributes}


def written_in_one_second(port, place, visit):
    """A visitor who has made these requests, and the record. All within one second, where the metadata says only one."""
    for _ in range(30):
        visitor = Visitor(port)
        for path, body in visit:
            visitor.ask(path, body)
        store, record = place.store(visitor.sid)
        updated, created, _ = map(int, META.search(record).groups())
        if updated == created:
            return visitor, store, record, created
    raise AssertionError("the machine is too slow for a session in one second")


def make(file, php, redis, folder):
    ask = "require 'Symfony/Component/HttpKernel/autoload.php'; echo Symfony\\Component\\HttpKernel\\Kernel::VERSION;"
    said = subprocess.run([php, "-d", "error_reporting=0", "-r", ask], capture_output=True, text=True, check=True)
    version = said.stdout.strip()
    file.releases.append(version)
    release = version.split(".")[0]
    for place, kind in ((redis, "redis"), (Files(folder), "files")):
        for handler in ("php", "php_binary", "php_serialize"):
            for lifetime in (0, 3600) if handler == "php" else (0,):
                named = f"{release}-{kind}-{handler}" + ("-persistent" if lifetime else "")
                file.configs[named] = {
                    "session.save_handler": kind, "session.serialize_handler": handler, "session.cookie_lifetime": lifetime,
                    "session.gc_maxlifetime": 1440, "key_prefix": PREFIX if kind == "redis" else "sess_",
                }
                port = free_port()
                environment = {**place.environment, "SERIALIZER": handler, "LIFETIME": str(lifetime)}
                with running([php, "-S", f"127.0.0.1:{port}", str(APP)], port, **environment):
                    valid(file, version, named, port, place, lifetime)
                    if not lifetime:
                        others(file, version, named, port, place, handler)


def valid(file, version, named, port, place, lifetime):
    for what, visit in steps():
        if lifetime and what not in ("one", "flash-with-attributes"):
            continue
        visitor, store, record, at = written_in_one_second(port, place, visit)
        raw = visitor.raw
        vector = {"time": {"written": at, "read": at}, "sid": visitor.sid, "session": visitor.session(),
                  "set_cookie": [cookie_of(raw)], "store": store, "reencode": "exact"}
        with contextlib.suppress(UnicodeDecodeError):
            vector["plaintext"] = record.decode()
        file.add(f"{named}/{what}", version, named, LOADED, **vector)


def others(file, version, named, port, place, handler):
    """What is read and not written so by ours alone, and what is refused."""
    # A second page, which moves the time of the last one; and a session with nothing in it any more.
    visitor, _, _, _ = written_in_one_second(port, place, [("set", {"a": 1})])
    time.sleep(1.1)
    visitor.ask("add", {"b": 2})
    visitor.ask("flash", {"message": "hello"})
    store, record = place.store(visitor.sid)
    updated, created, _ = map(int, META.search(record).groups())
    assert updated > created, record
    file.add(f"{named}/second-page", version, named, LOADED, time={"written": updated, "read": updated}, sid=visitor.sid,
             session=visitor.session(), store=store)
    # Objects and references, which only PHP reads.
    for what, feature in (("php", None), ("object", "objects")):
        visitor, store, record, at = written_in_one_second(port, place, [(what, {})])
        vector = {"time": {"written": at, "read": at}, "sid": visitor.sid, "store": store, "reencode": "exact"}
        if feature is None:
            # Plain PHP beside the bags: no attribute, and the record cannot be made of attributes alone.
            vector |= {"session": visitor.session(), "reencode": "none"}
        else:
            vector |= {"session": {"object": {"$t": "object"}}, "feature": feature}
        file.add(f"{named}/{what}", version, named, LOADED, **vector)
    good, store, record, at = written_in_one_second(port, place, [("set", {"marker": 1})])
    reads = lambda bytes_: (place.put(good.sid, bytes_), "marker" in Visitor(port, good.sid).ask("get"))[1]
    assert reads(record), named
    join = {
        "php": lambda pairs: b"".join(name + b"|" + value for name, value in pairs),
        "php_binary": lambda pairs: b"".join(bytes([len(name)]) + name + value for name, value in pairs),
        "php_serialize": lambda pairs: b"a:%d:{" % len(pairs)
        + b"".join(b's:%d:"%s";' % (len(name), name) + value for name, value in pairs) + b"}",
    }
    attributes = (b"_sf2_attributes", b'a:1:{s:6:"marker";i:1;}')
    meta = (b"_sf2_meta", b'a:3:{s:1:"u";i:%d;s:1:"c";i:%d;s:1:"l";i:0;}' % (at, at))
    own = join[handler]
    assert own([attributes, meta]) == record, (named, record)
    malformed = {
        "record-cut": record[:-9],
        "attributes-no-array": own([(b"_sf2_attributes", b"i:1;"), meta]),
        "attributes-text": own([(b"_sf2_attributes", b's:23:"a:1:{s:6:"marker";i:1;}";'), meta]),
        "attributes-cut": own([(b"_sf2_attributes", attributes[1][:-1]), meta]),
        "wrong-count": own([(b"_sf2_attributes", b'a:2:{s:6:"marker";i:1;}'), meta]),
        "no-record-of-php": b'{"marker":1}',
        "json": b'{"_sf2_attributes":{"marker":1}}',
    }
    malformed |= {f"record-of-{name}": other([attributes, meta]) for name, other in join.items() if name != handler}
    for what, bytes_ in malformed.items():
        assert not reads(bytes_), (named, what)
        file.add(f"{named}/{what}", version, named, EMPTY, time={"written": at, "read": at}, sid=good.sid,
                 store={**store, "value_hex": bytes_.hex()}, mutation=what, mutation_of=f"symfony/{named}/one")
    # What Symfony takes and never writes so.
    lenient = {
        "meta-no-array": own([attributes, (b"_sf2_meta", b"i:1;")]),
        "flashes-no-array": own([attributes, (b"_symfony_flashes", b's:1:"x";'), meta]),
        "without-meta": own([attributes]),
    }
    for what, bytes_ in lenient.items():
        assert reads(bytes_), (named, what)
        file.add(f"{named}/{what}", version, named, {**LOADED, "lenient": True}, time={"written": at, "read": at}, sid=good.sid,
                 session={"marker": 1}, store={**store, "value_hex": bytes_.hex()}, mutation=what,
                 mutation_of=f"symfony/{named}/one")
    place.put(good.sid, b"")
    file.add(f"{named}/no-record", version, named, {"outcome": "valid", "framework_result": "an empty session"},
             time={"written": at, "read": at}, sid=good.sid, session={}, store=None)


def main():
    file, port = File(), free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with running(command, port), tempfile.TemporaryDirectory() as folder:
        for number_, php in enumerate(sys.argv[1:]):
            own = pathlib.Path(folder, str(number_))
            own.mkdir()
            make(file, php, Redis(port), own)
    is_lenient = lambda vector: vector["expect"].get("lenient", False)
    outcome = lambda name: sum(vector["expect"]["outcome"] == name and not is_lenient(vector) for vector in file.vectors)
    whole = {
        "schema": "session-interop/1", "set": "own", "format": "symfony", "runtime": "PHP",
        "packages": {f"symfony {release.split('.')[0]}": release for release in file.releases},
        "counts": {"valid": outcome("valid"), "invalid": outcome("invalid"), "lenient": sum(map(is_lenient, file.vectors))},
        "configs": file.configs, "vectors": file.vectors,
    }
    print(json.dumps(whole, indent=1))


main()
