"""Typed JSON of what Django's sessions hold: plain JSON is itself, everything else is {"$t": type, "v": value}."""

import struct


def from_typed(value):
    if isinstance(value, list):
        return [from_typed(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$t" not in value:
        return {name: from_typed(item) for name, item in value.items()}
    kind, v = value["$t"], value.get("v")
    match kind:
        case "int":
            return int(v)
        case "float":
            return struct.unpack(">d", bytes.fromhex(value["bits"]))[0]
        case "map":
            return {from_typed(key): from_typed(item) for key, item in v}
        case "utf16":
            return bytes.fromhex(v).decode("utf-16-be", "surrogatepass")
    raise ValueError(f"unknown type {kind!r}")


def to_typed(value):
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) < 2**53 else {"$t": "int", "v": str(value)}
        case float():
            return {"$t": "float", "v": repr(value), "bits": struct.pack(">d", value).hex()}
        case str():
            if has_lone_surrogate(value):
                return {"$t": "utf16", "v": value.encode("utf-16-be", "surrogatepass").hex()}
            return value
        case list():
            return [to_typed(item) for item in value]
        case dict() if all(not key.startswith("$") and not has_lone_surrogate(key) for key in value):
            return {key: to_typed(item) for key, item in value.items()}
        case dict():
            return {"$t": "map", "v": [[to_typed(key), to_typed(item)] for key, item in value.items()]}
    raise TypeError(f"no typed JSON for {type(value).__name__}")


def has_lone_surrogate(text):
    return any("\ud800" <= character <= "\udfff" for character in text)
