"""Writes corpus/<target>/ from the sessions in ../vectors/ that real frameworks wrote. Run: python3 seeds.py"""

import base64
import hashlib
import json
import pathlib
import zlib

HERE = pathlib.Path(__file__).parent
VECTORS = [
    vector
    for path in sorted((HERE.parent / "vectors").glob("*.json"))
    for vector in json.loads(path.read_text())["vectors"]
]


def packed(value):
    """MessagePack of a JSON value, for small lengths."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return b"\xd3" + value.to_bytes(8, "big", signed=True) if abs(value) < 1 << 63 else b"\xc0"
    if isinstance(value, float):
        return b"\xca\x3f\x80\x00\x00"
    if isinstance(value, str):
        text = value.encode("utf-8", "replace")
        return b"\xda" + len(text).to_bytes(2, "big") + text if len(text) < 1 << 16 else b"\xa0"
    if isinstance(value, list):
        return b"\xdc" + len(value).to_bytes(2, "big") + b"".join(map(packed, value))
    members = [packed(str(name)) + packed(it) for name, it in value.items()]
    return b"\xde" + len(members).to_bytes(2, "big") + b"".join(members)


# Tuple, markup, UUID, lone surrogate, big integer, date, and a type that nobody knows.
EXTENSIONS = [
    b"\xd6\x01\x93\x01\x02\xa0", b"\xc7\x03\x02<b>", b"\xd8\x03" + bytes(range(16)), b"\xd5\x04\xd8\x00",
    b"\xc7\x1418446744073709551616"[:2] + b"\x0518446744073709551616", b"\xd6\xff\x65\x53\xf1\x00",
    b"\xd7\xff" + bytes(8), b"\xc7\x0c\xff" + bytes(12), b"\xd4\x2a\x00",
]


def json_spans():
    for vector in VECTORS:
        text = vector.get("plaintext")
        if isinstance(text, str):
            yield text.encode("utf-8", "surrogatepass")
        if isinstance(vector.get("session"), dict):
            yield packed(vector["session"])
    for extension in EXTENSIONS:
        yield extension
        yield b"\x81\xa1x" + extension
        yield b"\x82\xa1x\x92" + extension + extension + b"\xa1x\x01"


def flask():
    for vector in VECTORS:
        text, cookie = vector.get("plaintext"), vector.get("cookie_value")
        if isinstance(text, str):
            text = text.encode("utf-8", "surrogatepass")
            yield from (b"\0" + text, b"\1" + text, b"\2" + zlib.compress(text))
        if isinstance(cookie, str):
            cookie = cookie.encode("utf-8", "surrogatepass")
            yield b"\4" + cookie
            yield b"\3" + cookie.rpartition(b".")[0]
    yield b"\2" + zlib.compress(b'{"a":"' + b"x" * 100_000 + b'"}')
    yield b"\3e30." + base64.urlsafe_b64encode((1_700_000_001).to_bytes(4, "big")).rstrip(b"=")


def flask_session():
    for vector in VECTORS:
        if vector["framework"].startswith("Flask-Session"):
            sid, record = vector.get("sid"), vector.get("store")
            if sid:
                yield b"\1" + sid.encode()
            if record:
                yield from (bytes([3 + 8 * which]) + bytes.fromhex(record["value_hex"]) for which in range(2))


def cookie_header():
    for vector in VECTORS:
        cookie = vector.get("request_cookie")
        if isinstance(cookie, str):
            yield cookie.encode("utf-8", "surrogatepass")
    names = [b"__Host-Http-session"] * 8 + [b"session"] * 16
    for which, name in enumerate(names):
        token = bytes([1, which])
        yield name + b"=" + token
        yield b"a=1; " + name + b"=" + token + b"; " + name + b"=" + token
        yield name + b"=x; " + name + b"=" + token + b"\n" + name + b"=" + bytes([2, which, 200, 65])
        yield name + b"=" + token + b";" + name + b"=" + bytes([1, which + 1])
        yield name + b'="' + token + b'"'


def sealed():
    for seed in range(64):
        yield hashlib.shake_128(bytes([seed])).digest(16 + seed * 4)
    for vector in VECTORS:
        if isinstance(vector.get("session"), dict):
            # As one variant's first field and as another's: the target takes its input apart by itself.
            yield b"\0\0\0\x80" + packed(vector["session"])
            facts = b"\0" * 29 + packed(vector["session"])
            yield b"\0\0\0\xff" + facts


def of(framework):
    """The cookies of a framework, and what stands in them."""
    for vector in VECTORS:
        if vector["framework"].startswith(framework):
            text = vector.get("plaintext")
            term = vector.get("intermediate", {}).get("term_hex")
            cookie = vector.get("cookie_value") or vector.get("seal")
            if isinstance(text, str):
                text = text.encode("utf-8", "surrogatepass")
                yield from (b"\0" + text, b"\1" + text, b"\2" + text)
            if isinstance(term, str):
                yield from (b"\0" + bytes.fromhex(term), b"\2" + bytes.fromhex(term))
            if isinstance(cookie, str):
                yield b"\3" + cookie.encode("utf-8", "surrogatepass")


def django():
    yield from of("Django")


def django_session():
    for vector in VECTORS:
        if not vector["framework"].startswith("Django") or vector.get("kind") != "store":
            continue
        record, text = vector.get("store") or {}, vector.get("plaintext")
        if "session_data" in record:
            payload, _, rest = record["session_data"].partition(":")
            yield from (b"\0" + record["session_data"].encode(), b"\3" + payload.encode(), b"\4" + rest.encode())
        if "value_hex" in record:
            yield b"\7" + bytes.fromhex(record["value_hex"])
        if text:
            yield from (bytes([how]) + text.encode() for how in (2, 5, 6, 7))
    yield b"\1mainkey0123456789abcdefghijklmno"


def rails():
    yield from of("Rails")


def iron():
    yield from of("iron-session")


def phoenix():
    yield from of("Plug")


def php():
    handlers = ["php", "php_binary", "php_serialize"]
    for vector in VECTORS:
        if not vector.get("framework", "").startswith("PHP") or not vector.get("store"):
            continue
        record = bytes.fromhex(vector["store"]["value_hex"])
        handler = next((at for at, name in enumerate(handlers) if vector["config"].endswith("-" + name)), 0)
        yield bytes([handler]) + record
        if handler == 2:
            yield b"\3" + record
    yield b"\0a|a:2:{i:0;i:1;i:1;i:2;}b|R:1;o|O:8:\"stdClass\":0:{}o2|r:4;"
    yield b"\2a:2:{s:1:\"a\";i:1;s:1:\"b\";R:2;}"


def symfony():
    handlers = ["php", "php_binary", "php_serialize"]
    for vector in VECTORS:
        if not vector["framework"].startswith("Symfony") or not vector.get("store"):
            continue
        handler = next(at for at, name in enumerate(handlers) if vector["config"].removesuffix("-persistent").endswith("-" + name))
        yield bytes([handler]) + bytes.fromhex(vector["store"]["value_hex"])
        log_in = vector.get("session", {}).get("_security_main")
        if isinstance(log_in, str):
            yield b"\3" + log_in.encode()


def laravel():
    for vector in VECTORS:
        if vector["framework"].startswith("Laravel"):
            cookie, record, text = vector.get("cookie_value"), vector.get("store"), vector.get("plaintext")
            yield b"\0" + cookie.encode()
            if record:
                yield from (bytes([3 + 8 * which]) + bytes.fromhex(record["value_hex"]) for which in range(3))
            if text:
                yield from (bytes([4 + 8 * which]) + text.encode() for which in range(3))


for target in (json_spans, flask, flask_session, cookie_header, sealed, django, django_session, rails, iron, phoenix, php, symfony, laravel):
    folder = HERE / "corpus" / target.__name__
    folder.mkdir(parents=True, exist_ok=True)
    seeds = {seed for seed in target() if len(seed) <= 20_000}
    for seed in seeds:
        (folder / ("seed-" + hashlib.sha1(seed).hexdigest())).write_bytes(seed)
    print(f"{target.__name__}: {len(seeds)} seeds")
