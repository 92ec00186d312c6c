"""The tables, as Markdown: what was measured, and beside it what was aimed at."""

import re

import raw
from raw import HTTP_NAMES, NAMES, SCENARIOS, rows


def table(head, body):
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body]) + "\n"


def aims_table(aims):
    """Aims are (what, measured, aim, whether more is better). Nothing is measured where there is nothing to divide by."""
    body = []
    for what, measured, aim, more in aims:
        sign = ">=" if more else "<="
        if measured is None:
            body.append([what, "-", f"{sign} {aim}", "-"])
            continue
        met = measured >= aim if more else measured <= aim
        body.append([what, f"{measured:.2f}", f"{sign} {aim}", "yes" if met else "no"])
    return table(["ratio", "measured", "aim", "met"], body)


def inprocess():
    times = raw.inprocess()
    if not times:
        return ""
    out = ["## In process\n"]
    out.append("Microseconds of CPU that a request costs beyond a layer that does nothing; no socket, a session of 292")
    out.append("bytes, medians of 201 interleaved rounds. One cookie, then 100,000 sessions in turn.\n")
    body = []
    for peer, name in NAMES.items():
        cells = [f"{max(0, times[size, scenario, peer]):.2f}" for size in ("1", "100000") for scenario in SCENARIOS]
        body.append([name, *cells])
    out.append(table(["", *SCENARIOS, *(f"{scenario}, 100,000" for scenario in SCENARIOS)], body))

    def ratio(ours, theirs, scenario, size="1"):
        return times[size, scenario, ours] / times[size, scenario, theirs]

    aims = [
        ("untouched: memory / tower-sessions", ratio("memory", "tower-sessions", "untouched"), 0.45, False),
        ("read: memory / tower-sessions", ratio("memory", "tower-sessions", "read"), 0.25, False),
        ("write: memory / tower-sessions", ratio("memory", "tower-sessions", "write"), 0.2, False),
        ("read, 100,000 sessions: memory / tower-sessions", ratio("memory", "tower-sessions", "read", "100000"), 0.3, False),
        ("write, 100,000 sessions: memory / tower-sessions", ratio("memory", "tower-sessions", "write", "100000"), 0.25, False),
        ("read: sealed / private jar", ratio("sealed", "private-jar", "read"), 0.25, False),
        ("write: sealed / private jar", ratio("sealed", "private-jar", "write"), 0.25, False),
        ("read: Flask's format / signed jar", ratio("flask", "signed-jar", "read"), 0.45, False),
        ("write: Flask's format / signed jar", ratio("flask", "signed-jar", "write"), 0.35, False),
    ]
    out.append(aims_table(aims))
    return "\n".join(out)


def allocations():
    counts = {(row[0], row[1]): (float(row[2]), int(row[3])) for row in rows("allocations")}
    instructions = {(row[0], row[1]): int(row[2]) for row in rows("instructions")}
    if not counts:
        return ""
    body = []
    for peer, name in NAMES.items():
        cells = []
        for scenario in SCENARIOS:
            count = counts[scenario, peer][0] - counts[scenario, "nothing"][0]
            size = counts[scenario, peer][1] - counts[scenario, "nothing"][1]
            cells.append(f"{max(0, count):.0f} / {max(0, size)}")
        for scenario in SCENARIOS[:3]:
            if (scenario, peer) in instructions:
                cells.append(f"{max(0, instructions[scenario, peer] - instructions[scenario, 'nothing']):,}")
            else:
                cells.append("-")
        body.append([name, *cells])
    head = ["", *SCENARIOS, *(f"{scenario}: instructions" for scenario in SCENARIOS[:3])]
    text = "## Allocations and instructions\n\nAllocations / bytes they ask for, and instructions (callgrind), beyond a layer that does nothing.\nValgrind's processor has no SHA extensions: what is signed, or found by a digest, is dearer there than it is.\n\n"
    return text + table(head, body)


def codecs():
    ns = raw.codecs()
    if not ns:
        return ""
    body = []
    kinds = [
        ("sealed", "dewar/{}/sealed", "floor/{}/sealed", "cookie/{}/private-jar"),
        ("Flask's format", "dewar/{}/plain", "floor/{}/plain", "python/{}/plain"),
        ("Flask's format, compressed", "dewar/{}/compressed", "floor/{}/compressed", "python/{}/compressed"),
    ]
    others = [("Django's format", "django"), ("Rails' format", "rails"), ("iron-session's format", "iron"), ("Phoenix's format", "phoenix"), ("PHP's", "php"), ("Symfony's", "symfony"), ("Laravel's", "laravel"), ("express-session's", "express-session")]
    aims = []
    for name, *columns in kinds:
        for verb in ("open", "commit"):
            ours, floor, peer = (ns[column.format(verb)] for column in columns)
            body.append([f"{verb}, {name}", f"{ours:,.0f}", f"{floor:,.0f}", f"{peer:,.0f}"])
            aims.append((f"{verb}, {name} / floors", ours / floor, 1.25, False))
            if "python" in columns[2]:
                aim = {"opencompressed": 6, "commitcompressed": 3}.get(verb + columns[2].rsplit("/", 1)[1], 30)
                aims.append((f"{verb}, Flask in Python / {name}", peer / ours, aim, True))
    for name, of in others:
        for verb in ("open", "commit"):
            ours, peer = (ns.get(f"{whose}/{verb}/{of}") for whose in ("dewar", of))
            if ours is not None:
                body.append([f"{verb}, {name}", f"{ours:,.0f}", "-", "-" if peer is None else f"{peer:,.0f}"])
    text = "## Codecs\n\nNanoseconds of CPU, the least of three passes. The peer of `sealed` is the private jar with JSON; of a framework's format, its own code in its\nown language. Where a cookie holds an id, it is the cookie and the record, without what keeps it. Floors are MAC or AEAD, base64, inflate or deflate, and one walk through the same bytes.\n\n"
    return text + table(["", "dewar", "floors", "peer"], body) + "\n" + aims_table(aims)


def stores():
    found = rows("stores")
    if not found:
        return ""
    cell = lambda text: text if text == "-" or not re.fullmatch(r"[\d.]+", text) else f"{float(text):,.2f}"
    text = "## Stores\n\nMicroseconds for each operation, medians of interleaved turns; records of 240 bytes.\n\n"
    text += table(["", "in flight", "wall", "CPU of this process"], [[row[0], row[1], cell(row[2]), cell(row[3])] for row in found])
    each = raw.stores()
    aims = []
    if ("sqlite: load", "32") in each:
        aims.append(("SQLite, CPU of a load, 32 in flight / rusqlite", each["sqlite: load", "32"][1] / each["rusqlite: load", "1"][1], 3, False))
        aims.append(("SQLite, time of a durable replace, 32 in flight / rusqlite, 32 a transaction", each["sqlite: replace", "32"][0] / each["rusqlite: replace, 32 a transaction", "1"][0], 1.2, False))
    for many in ("1", "32"):
        for name, theirs, time, cpu in (
            ("redis", ("redis client: GET", "redis client: the same script"), 1.15, 1.15),
            ("postgres", ("postgres client: the same statement of a load", "postgres client: the same statement of a replace"), 1.2, 1.3),
            ("mysql", ("mysql_async: the same SELECT", "mysql_async: the same UPDATE"), 1.2, 1.3),
        ):
            for verb, client in zip(("load", "replace"), theirs):
                ours = f"{name}: {verb}"
                if (ours, many) in each:
                    for at, kind, aim in ((0, "time", time), (1, "CPU", cpu)):
                        aims.append((f"{ours}, {many} in flight, {kind} / {client}", each[ours, many][at] / each[client, many][at], aim, False))
        for verb in ("load", "replace"):
            one = f"redis over TCP: {verb}"
            for nodes in ("1", "3"):
                ours = f"redis cluster, nodes: {nodes}: {verb}"
                if (ours, many) in each:
                    aims.append((f"{ours}, {many} in flight, time / one server", each[ours, many][0] / each[one, many][0], 1.1, False))
    return text + "\n" + aims_table(aims)


def growth():
    found = rows("growth")
    if not found:
        return ""
    text = "## Growth\n\nMicroseconds for each one, among few and among many, and what a cookie that a stranger made costs to open beside a valid one.\n\n"
    many = lambda count: f"{int(count):,}"
    body = [[what, many(count), each, times] for what, count, each, times in found]
    return text + table(["", "how many, or bytes", "microseconds each", "times the first of its kind"], body)


COLUMNS = [("1", scenario) for scenario in SCENARIOS] + [("100000", scenario) for scenario in ("read", "write")]
HEADS = ["", *(scenario if sessions == "1" else f"{scenario}, 100,000" for sessions, scenario in COLUMNS)]


def peers(found, cell):
    """A row a peer, of what one of them did and what bare axum did in the same scenario."""
    body = []
    for peer in (peer for peer in HTTP_NAMES if ("1", "read", peer) in found):
        measured = [(found.get((*column, peer)), found[(*column, "bare")]) for column in COLUMNS]
        body.append([HTTP_NAMES[peer], *(cell(one, bare) if one else "-" for one, bare in measured)])
    return table(HEADS, body)


def fewer(found):
    there = {peer: one.sessions for (sessions, _, peer), one in found.items() if one.sessions < int(sessions)}
    names = ", ".join(f"{HTTP_NAMES[peer]} {count:,}" for peer, count in there.items())
    return [f"Fewer where a peer makes no more in the time it has: {names}."] if names else []


def costs(found):
    out = ["Microseconds of the server's CPU for each request, and how many times that of bare axum:\n"]
    out.append(peers(found, lambda one, bare: f"{one.cpu:,.1f} / {one.cpu / bare.cpu:.2f}"))
    out.append("Microseconds beyond bare axum, compared within a round:\n")
    out.append(peers(found, lambda one, _: f"{one.beyond:,.2f}"))
    out.append("Requests a second; the client runs on the same machine:\n")
    out.append(peers(found, lambda one, _: f"{one.a_second:,.0f}"))
    return out


def http_postgres():
    found = raw.http("http-postgres")
    if not found:
        return ""
    out = ["## HTTP, sessions in PostgreSQL\n", "As above, in a run of their own beside one server, which takes its part of the same two cores. Each peer has up to 16"]
    out.append("connections, Django's one worker one; a write is committed before it is answered (`synchronous_commit` as the server has it).")
    out += [*fewer(found), "", *costs(found)]
    aims = []
    for scenario, sessions in [("read", "1"), ("write", "1"), ("read", "100000"), ("write", "100000")]:
        ours = found[sessions, scenario, "postgres"]
        many = "" if sessions == "1" else ", 100,000 sessions"
        for peer in ("tower-sessions-postgres", "express-postgres", "django-postgres"):
            theirs = found.get((sessions, scenario, peer))
            if theirs:
                aims.append((f"{scenario}{many}: requests a second / {HTTP_NAMES[peer]}", ours.a_second / theirs.a_second, 1, True))
                aims.append((f"{scenario}{many}: CPU / {HTTP_NAMES[peer]}", ours.cpu / theirs.cpu, 1, False))
    return "\n".join([*out, aims_table(aims)])


def http():
    found = raw.http()
    if not found:
        return ""
    out = ["## HTTP\n", "Servers of one thread behind a socket; 16 connections that stay open, each asking again when it is answered; a session"]
    out.append("of 292 bytes. One cookie, then 100,000 sessions in turn. What a client asks for is checked before it is measured.")
    out += fewer(found)
    out.append("Both SQLite peers have a write on the disk before they answer: WAL with synchronous=FULL.\n")
    out += costs(found)
    if any(one.redis for one in found.values()):
        out.append("Microseconds of the Redis server's own CPU for each request:\n")
        on_redis = [peer for peer in HTTP_NAMES if getattr(found.get(("1", "read", peer)), "redis", None) is not None]
        body = [[HTTP_NAMES[peer], *(f"{found[(*column, peer)].redis:.1f}" for column in COLUMNS)] for peer in on_redis]
        out.append(table(HEADS, body))

    aims = []
    for what, ours, theirs, scenario, sessions, aim in [
        ("memory / tower-sessions", "memory", "tower-sessions", "untouched", "1", 0.45),
        ("memory / tower-sessions", "memory", "tower-sessions", "read", "1", 0.25),
        ("memory / tower-sessions", "memory", "tower-sessions", "write", "1", 0.2),
        ("memory / tower-sessions", "memory", "tower-sessions", "read", "100000", 0.3),
        ("memory / tower-sessions", "memory", "tower-sessions", "write", "100000", 0.25),
        ("sealed / private jar", "sealed", "private-jar", "read", "1", 0.25),
        ("sealed / private jar", "sealed", "private-jar", "write", "1", 0.25),
        ("Flask's format / signed jar", "flask", "signed-jar", "read", "1", 0.45),
        ("Flask's format / signed jar", "flask", "signed-jar", "write", "1", 0.35),
    ]:
        many = "" if sessions == "1" else ", 100,000 sessions"
        if (sessions, scenario, ours) in found and (sessions, scenario, theirs) in found:
            ours, theirs = (found[sessions, scenario, peer].beyond for peer in (ours, theirs))
            aims.append((f"{scenario}{many}: {what}", max(0.0, ours) / theirs if theirs > 0 else None, aim, False))
    out.append("CPU beyond bare axum:\n")
    out.append(aims_table(aims))
    return "\n".join(out)
