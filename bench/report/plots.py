"""The plots. What is ours is green; a plot whose measurements are missing is left as it was."""

import raw
from raw import HTTP_NAMES, NAMES
from svg import bar, cut, dot, legend, line, log_scale, number, path, picture, text

TOGETHER = [
    ("On a store, in memory", ["memory", "tower-sessions"]),
    ("Encrypted in the cookie", ["sealed", "private-jar"]),
    ("Signed in the cookie", ["flask", "signed-jar"]),
]


def request():
    """What a session costs a request: bars, ours beside the peer that does the same."""
    times = raw.inprocess()
    if not times:
        return None
    left, width, height = 300, 470, 20
    most = max(times["1", scenario, peer] for _, peers in TOGETHER for scenario in ("read", "write") for peer in peers)
    y, out = 72, []
    for group, peers in TOGETHER:
        out.append(text(24, y + 14, group, "head"))
        y += 26
        for scenario in ("read", "write"):
            for peer in peers:
                value = max(0, times["1", scenario, peer])
                name, ours = NAMES[peer].split(", ")[0], NAMES[peer].startswith("dewar")
                out.append(text(left - 10, y + 14, f"{scenario}, {name}", anchor="end"))
                out.append(bar(left, y, value * width / most, height - 3, "ours" if ours else "theirs"))
                out.append(text(left + value * width / most + 6, y + 13, f"{value:.2f}", "small"))
                y += height
            y += 7
        y += 12
    out.append(line(left - 0.5, 72, left - 0.5, y - 12))
    note = "Microseconds of CPU beyond an empty layer; axum in process, a session of 292 bytes. Less is better."
    return picture(left + width + 60, y + 4, "What a session costs a request", [note], out)


HTTP_GROUPS = [
    ("Encrypted in the cookie", ["sealed", "private-jar", "actix-cookie"]),
    ("Signed in the cookie", ["flask", "signed-jar"]),
    ("In memory", ["memory", "tower-sessions", "axum-session"]),
    ("In SQLite, durable", ["sqlite", "tower-sessions-sqlite"]),
    ("In Redis", ["redis", "tower-sessions-redis", "actix-redis"]),
]
SCRIPTED_GROUPS = [
    ("Signed in the cookie", ["flask", "flask-gunicorn", "express-cookie"]),
    ("In memory", ["memory", "express-memory"]),
    ("In Redis", ["redis", "express-redis"]),
]


def http():
    """What a request costs the server: two bars a peer, and the time of axum alone as a rule across them."""
    found = raw.http()
    if not found:
        return None
    out = legend(24, 100, [("ours", "dewar, read", False), ("ours-too", "dewar, write", False)])
    out += legend(248, 100, [("theirs", "others, read", False), ("theirs-too", "others, write", False)])
    y = panel(out, 132, "Rust", HTTP_GROUPS, found)
    if ("1", "read", "flask-gunicorn") in found or ("1", "read", "express-cookie") in found:
        y = panel(out, y + 20, "Beside Python and Node: another scale", SCRIPTED_GROUPS, found)
    notes = [
        "Microseconds of the server's CPU, everything between socket and session included; one thread, 16 connections that",
        "stay open, a session of 292 bytes. Less is better. The dashed rule is axum without sessions.",
    ]
    return picture(860, y, "What a request with a session costs the server", notes, out)


def panel(out, y, title, groups, found):
    left, width, height = 300, 480, 13
    groups = [(group, [peer for peer in peers if ("1", "read", peer) in found]) for group, peers in groups]
    groups = [(group, peers) for group, peers in groups if peers]
    values = [found["1", scenario, peer].cpu for _, peers in groups for peer in peers for scenario in ("read", "write")]
    scale = width / longest(values)
    out.append(text(24, y, title, "title"))
    y += 20
    top, bars = y, []
    for group, peers in groups:
        bars.append(text(24, y + 12, group, "head"))
        y += 22
        for peer in peers:
            kind = "ours" if HTTP_NAMES[peer].startswith("dewar") else "theirs"
            bars.append(text(left - 10, y + 17, HTTP_NAMES[peer], anchor="end"))
            for scenario, shade in (("read", kind), ("write", f"{kind}-too")):
                value = found["1", scenario, peer].cpu
                long = min(value * scale, width)
                bars.append(bar(left, y, long, height - 1, shade))
                if long < value * scale:
                    bars.append(cut(left + long - 40, y, height - 1))
                bars.append(text(left + long + 6, y + 10, number(value), "small"))
                y += height
            y += 7
        y += 10
    bare = left + found["1", "read", "bare"].cpu * scale
    out += [line(left - 0.5, top, left - 0.5, y - 10), *bars, line(bare, top, bare, y - 10, "rule")]
    return y


def longest(values):
    """Of the bars that are drawn whole: one that is three times the next would leave nothing to see of the others."""
    values = sorted(values)
    while len(values) > 1 and values[-1] > 3 * values[-2]:
        values.pop()
    return values[-1]


def codecs():
    """Opening and committing: a dot for the least it can take, for ours, and for the peer, on a scale of powers."""
    ns = raw.codecs()
    if not ns:
        return None
    kinds = [
        ("Sealed; peer: private jar + JSON", "sealed", "cookie/{}/private-jar"),
        ("Flask's format; peer: itsdangerous in Python", "plain", "python/{}/plain"),
        ("The same, compressed", "compressed", "python/{}/compressed"),
    ]
    left, width = 130, 640
    at = log_scale(300, 50_000, left, width)
    out = legend(24, 80, [("floor", "what cannot be left out", True), ("ours", "dewar", True), ("theirs", "the peer", True)])
    y, dots = 110, []
    for title, kind, peer in kinds:
        dots.append(text(24, y + 4, title, "head"))
        y += 30
        for verb in ("open", "commit"):
            floor, ours, theirs = ns[f"floor/{verb}/{kind}"], ns[f"dewar/{verb}/{kind}"], ns[peer.format(verb)]
            dots.append(text(left - 20, y + 4, verb, anchor="end"))
            dots.append(line(at(min(floor, ours)), y, at(theirs), y, "link"))
            dots += [dot(at(theirs), y, "theirs"), dot(at(floor), y, "floor", 4.5), dot(at(ours), y, "ours")]
            dots.append(text(at(ours), y - 10, f"{ours:,.0f}", "small", "middle"))
            dots.append(text(at(theirs), y - 10, f"{theirs:,.0f}", "small", "middle"))
            y += 34
        y += 10
    for tick in (300, 1_000, 3_000, 10_000, 30_000):
        out.append(line(at(tick), 96, at(tick), y - 16))
        out.append(text(at(tick), y, f"{tick:,} ns", "small", "middle"))
    note = "Nanoseconds of CPU for a session of 292 bytes, on a logarithmic scale. Less is better."
    return picture(830, y + 18, "Opening and committing a session", [note], out + dots)


def stores():
    """The memory store as it grows; SQLite and Redis beside the raw client that runs the same commands."""
    each = raw.stores()
    if not each:
        return None
    out = [text(24, 86, "In memory, as the number of sessions grows", "head")]
    y = growth(out, each, 104)
    out += [text(24, y + 24, "Beside the raw client, one operation and 32 in flight", "head")]
    out += legend(420, y + 24, [("ours", "dewar", False), ("theirs", "the raw client", False)])
    pairs = [
        ("SQLite, load", "sqlite: load", lambda many: ("rusqlite: load", "1")),
        ("SQLite, durable replace", "sqlite: replace", lambda many: (f"rusqlite: replace, {many} a transaction", "1")),
        ("Redis, load", "redis: load", lambda many: ("redis client: GET", many)),
        ("Redis, replace", "redis: replace", lambda many: ("redis client: the same script", many)),
    ]
    y = beside(out, each, pairs, y + 46)
    note = "Microseconds of wall time for each operation; records of 240 bytes. Less is better."
    return picture(830, y, "What a store takes", [note], out)


def growth(out, each, top):
    left, width, height = 90, 560, 150
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if (f"memory, {size} sessions: load", "1") in each]
    lines = [("load", "line-ours", "ours"), ("replace", "line-ours-too", "ours-too")]
    value = lambda size, verb: each[f"memory, {size} sessions: {verb}", "1"][0]
    most = max(value(size, verb) for size in sizes for verb, *_ in lines)
    at, up = log_scale(1_000, 1_000_000, left, width), lambda microseconds: top + height - microseconds / most * (height - 24)
    for tick in (0, 0.5, 1, 1.5, 2, 2.5):
        if up(tick) >= top:
            out.append(line(left, up(tick), left + width, up(tick)))
            out.append(text(left - 10, up(tick) + 4, f"{tick:g} µs", "small", "end"))
    for size in sizes:
        out.append(text(at(size), top + height + 20, f"{size:,}", "small", "middle"))
    for verb, stroke, fill in lines:
        points = [(at(size), up(value(size, verb))) for size in sizes]
        out.append(path(points, stroke))
        out += [dot(x, y, fill, 4) for x, y in points]
        x, y = points[-1]
        out.append(text(x + 12, y + 4, f"{verb}, {value(sizes[-1], verb):.2f}"))
    return top + height + 30


def beside(out, each, pairs, y):
    """Each family to a scale of its own: a write that waits for the disk takes ten times what Redis does."""
    left, width, height = 270, 480, 17
    shown = []
    for title, ours, raw_of in pairs:
        for many in ("1", "32"):
            if (ours, many) in each and raw_of(many) in each:
                shown.append((title, many, each[ours, many][0], each[raw_of(many)][0]))
    for family in ("SQLite", "Redis"):
        group = [row for row in shown if row[0].startswith(family)]
        if not group:
            continue
        scale = width / max(value for row in group for value in row[2:])
        top = y
        for title, many, *values in group:
            out.append(text(left - 10, y + 21, f"{title}, {many} in flight", anchor="end"))
            for kind, value in zip(("ours", "theirs"), values):
                out.append(bar(left, y, value * scale, height - 2, kind))
                out.append(text(left + value * scale + 6, y + 12, number(value), "small"))
                y += height
            y += 9
        out.append(line(left - 0.5, top, left - 0.5, y - 9))
        y += 14
    return y
