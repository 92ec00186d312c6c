"""Makes results/table.md and the plots of what results/raw holds."""

import csv
import html
import re
from pathlib import Path

HERE = Path(__file__).parent
RAW = HERE / "results" / "raw"

NAMES = {
    "sealed": "dewar, sealed cookie",
    "memory": "dewar, memory store",
    "flask": "dewar, Flask's format",
    "flask-compressed": "dewar, Flask's format, compressed",
    "tower-sessions": "tower-sessions, memory store",
    "private-jar": "private jar + JSON",
    "signed-jar": "signed jar + JSON",
}
SCENARIOS = ["untouched", "read", "write", "login"]


def rows(name):
    path = RAW / f"{name}.tsv"
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.reader(file, delimiter="\t"))[1:]


def table(head, body):
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body]) + "\n"


def aims_table(aims):
    """Aims are (what, measured, aim, whether more is better)."""
    body = []
    for what, measured, aim, more in aims:
        met = measured >= aim if more else measured <= aim
        sign = ">=" if more else "<="
        body.append([what, f"{measured:.2f}", f"{sign} {aim}", "yes" if met else "no"])
    return table(["ratio", "measured", "aim", "met"], body)


def inprocess():
    times = {(row[0], row[1], row[2]): float(row[3]) for row in rows("inprocess")}
    if not times:
        return "", {}
    out = ["## In process\n", (RAW / "machine.txt").read_text().replace("\n", ", ").rstrip(", ") + ".\n"]
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
    return "\n".join(out), times


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
    path = RAW / "codecs.txt"
    if not path.exists():
        return ""
    found = re.findall(r"test (\S+) \.\.\. bench: +([\d,]+) ns", path.read_text())
    ns = {name: float(value.replace(",", "")) for name, value in found}
    for line in (RAW / "flask.txt").read_text().splitlines():
        if "\t" in line:
            name, microseconds = line.split("\t")
            ns[name] = float(microseconds) * 1000
    body = []
    kinds = [
        ("sealed", "dewar/{}/sealed", "floor/{}/sealed", "cookie/{}/private-jar"),
        ("Flask's format", "dewar/{}/plain", "floor/{}/plain", "python/{}/plain"),
        ("Flask's format, compressed", "dewar/{}/compressed", "floor/{}/compressed", "python/{}/compressed"),
    ]
    aims = []
    for name, *columns in kinds:
        for verb in ("open", "commit"):
            ours, floor, peer = (ns[column.format(verb)] for column in columns)
            body.append([f"{verb}, {name}", f"{ours:,.0f}", f"{floor:,.0f}", f"{peer:,.0f}"])
            aims.append((f"{verb}, {name} / floors", ours / floor, 1.25, False))
            if "python" in columns[2]:
                aim = {"opencompressed": 6, "commitcompressed": 3}.get(verb + columns[2].rsplit("/", 1)[1], 30)
                aims.append((f"{verb}, Flask in Python / {name}", peer / ours, aim, True))
    text = "## Codecs\n\nNanoseconds of CPU. The peer of `sealed` is the private jar with JSON; of Flask's format, itsdangerous in Python as\nFlask uses it. Floors are MAC or AEAD, base64, inflate or deflate, and one walk through the same bytes.\n\n"
    return text + table(["", "dewar", "floors", "peer"], body) + "\n" + aims_table(aims)


def stores():
    found = rows("stores")
    if not found:
        return ""
    cell = lambda text: text if text == "-" or not re.fullmatch(r"[\d.]+", text) else f"{float(text):,.2f}"
    text = "## Stores\n\nMicroseconds for each operation, medians of interleaved turns; records of 240 bytes.\n\n"
    text += table(["", "in flight", "wall", "CPU of this process"], [[row[0], row[1], cell(row[2]), cell(row[3])] for row in found])
    each = {(row[0], row[1]): (float(row[2]), float(row[3])) for row in found if row[3] != "-"}
    aims = []
    if ("sqlite: load", "32") in each:
        aims.append(("SQLite, CPU of a load, 32 in flight / rusqlite", each["sqlite: load", "32"][1] / each["rusqlite: load", "1"][1], 3, False))
        aims.append(("SQLite, time of a durable replace, 32 in flight / rusqlite, 32 a transaction", each["sqlite: replace", "32"][0] / each["rusqlite: replace, 32 a transaction", "1"][0], 1.2, False))
    for many in ("1", "32"):
        if ("redis: load", many) in each:
            for ours, theirs in (("redis: load", "redis client: GET"), ("redis: replace", "redis client: the same script")):
                for at, kind in ((0, "time"), (1, "CPU")):
                    aims.append((f"{ours}, {many} in flight, {kind} / {theirs}", each[ours, many][at] / each[theirs, many][at], 1.15, False))
    return text + "\n" + aims_table(aims)


STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-size: 17px; font-weight: 600 }
  .small { font-size: 11.5px; fill: #616e7c }
  .head { font-weight: 600 }
  .ours { fill: #0f766e } .theirs { fill: #b8c2cc } .axis { stroke: #e4e7eb }
"""


def plot(times):
    """What a session costs a request: bars, ours beside the peer that does the same."""
    groups = [
        ("On a store, in memory", ["memory", "tower-sessions"]),
        ("Encrypted in the cookie", ["sealed", "private-jar"]),
        ("Signed in the cookie", ["flask", "signed-jar"]),
    ]
    shown = [(group, scenario, peer) for group, peers in groups for scenario in ("read", "write") for peer in peers]
    most = max(times["1", scenario, peer] for _, scenario, peer in shown)
    left, width, bar = 300, 470, 20
    scale = width / most
    y = 72
    out = []
    for group, peers in groups:
        out.append(f'<text class="head" x="24" y="{y + 14}">{html.escape(group)}</text>')
        y += 26
        for scenario in ("read", "write"):
            for peer in peers:
                value = times["1", scenario, peer]
                ours = peer not in ("tower-sessions", "private-jar", "signed-jar")
                label = f"{scenario}, {'dewar' if ours else NAMES[peer].split(', ')[0]}"
                kind = "ours" if ours else "theirs"
                out.append(f'<text x="{left - 10}" y="{y + 14}" text-anchor="end">{html.escape(label)}</text>')
                out.append(f'<rect class="{kind}" x="{left}" y="{y}" width="{value * scale:.1f}" height="{bar - 3}" rx="2"/>')
                out.append(f'<text class="small" x="{left + value * scale + 6:.1f}" y="{y + 13}">{value:.2f}</text>')
                y += bar
            y += 7
        y += 12
    total = left + width + 60
    head = f"""<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{y + 4}" viewBox="0 0 {total} {y + 4}">
<style>{STYLE}</style>
<rect width="100%" height="100%" fill="#ffffff"/>
<text class="title" x="24" y="32">What a session costs a request</text>
<text class="small" x="24" y="52">Microseconds of CPU beyond an empty layer; axum in process, a session of 292 bytes. Less is better.</text>
<line class="axis" x1="{left - 0.5}" y1="72" x2="{left - 0.5}" y2="{y - 12}"/>
"""
    (HERE / "results" / "request.svg").write_text(head + "\n".join(out) + "\n</svg>\n")


def main():
    text, times = inprocess()
    parts = ["# Measurements\n\nWritten by `bench/run`; the raw output is in `raw/`.\n", text, allocations(), codecs(), stores()]
    (HERE / "results" / "table.md").write_text("\n".join(part for part in parts if part))
    if times:
        plot(times)


main()
