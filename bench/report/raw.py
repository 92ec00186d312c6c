"""What the benchmarks wrote into results/raw, and who is meant by a name in it."""

import csv
import re
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "results"
RAW = RESULTS / "raw"

NAMES = {
    "sealed": "dewar, sealed cookie",
    "memory": "dewar, memory store",
    "flask": "dewar, Flask's format",
    "flask-compressed": "dewar, Flask's format, compressed",
    "tower-sessions": "tower-sessions, memory store",
    "private-jar": "private jar + JSON",
    "signed-jar": "signed jar + JSON",
}
HTTP_NAMES = {
    "bare": "axum, no session",
    "sealed": "dewar, sealed cookie",
    "private-jar": "private jar + JSON",
    "flask": "dewar, Flask's format",
    "flask-compressed": "dewar, Flask's format, compressed",
    "signed-jar": "signed jar + JSON",
    "memory": "dewar, memory store",
    "tower-sessions": "tower-sessions, memory store",
    "axum-session": "axum_session, in memory",
    "sqlite": "dewar, SQLite",
    "tower-sessions-sqlite": "tower-sessions, SQLite (SQLx)",
    "postgres": "dewar, PostgreSQL",
    "tower-sessions-postgres": "tower-sessions, PostgreSQL (SQLx)",
    "redis": "dewar, Redis",
    "tower-sessions-redis": "tower-sessions, Redis (fred)",
    "actix": "actix-web, no session",
    "actix-cookie": "actix-session, cookie",
    "actix-redis": "actix-session, Redis",
    "flask-gunicorn": "Flask under gunicorn",
    "django-postgres": "Django under gunicorn, PostgreSQL",
    "express": "Express, no session",
    "express-cookie": "Express, cookie-session",
    "express-memory": "Express, express-session in memory",
    "express-redis": "Express, express-session on Redis",
    "express-postgres": "Express, express-session on PostgreSQL",
}
SCENARIOS = ["untouched", "read", "write", "login"]


def rows(name):
    path = RAW / f"{name}.tsv"
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.reader(file, delimiter="\t"))[1:]


def machine():
    lines = (RAW / "machine.txt").read_text().splitlines()
    return ", ".join(re.sub(r"\s*:\s*", ": ", line) for line in lines)


def inprocess():
    """Microseconds beyond the layer that does nothing, of (sessions, scenario, peer)."""
    return {(row[0], row[1], row[2]): float(row[3]) for row in rows("inprocess")}


def codecs():
    """Nanoseconds, the least of several passes, of names like dewar/open/sealed."""
    path = RAW / "codecs.txt"
    if not path.exists():
        return {}
    found = re.findall(r"test (\S+) \.\.\. bench: +([\d,]+) ns", path.read_text())
    passes = [(name, float(value.replace(",", ""))) for name, value in found]
    for line in (RAW / "peers.txt").read_text().splitlines():
        if "\t" in line:
            name, microseconds = line.split("\t")
            passes.append((name, float(microseconds) * 1000))
    # Of a name that comes again, the least stands last.
    return dict(sorted(passes, key=lambda one: -one[1]))


def stores():
    """Microseconds of wall time and of CPU, of (what, in flight)."""
    return {(row[0], row[1]): (float(row[2]), float(row[3])) for row in rows("stores") if row[3] != "-"}


class Http:
    """What one peer did in one scenario."""

    def __init__(self, row):
        self.beyond, self.cpu, self.a_second = (float(cell) for cell in row[3:6])
        self.redis = None if row[6] == "-" else float(row[6])
        self.sessions = int(row[7])


def http(run="http"):
    """Of (sessions, scenario, peer)."""
    return {(row[0], row[1], row[2]): Http(row) for row in rows(run)}
