"""Makes results/table.md and the plots of what results/raw holds: python3 report"""

import plots
import raw
import tables


def main():
    head = f"# Measurements\n\nWritten by `bench/run`; the raw output is in `raw/`.\n\n{raw.machine()}.\n"
    parts = [tables.inprocess(), tables.http(), tables.http_postgres(), tables.allocations(), tables.codecs(), tables.stores(), tables.growth()]
    (raw.RESULTS / "table.md").write_text("\n".join([head, *(part for part in parts if part)]))
    for name, plot in [("request", plots.request), ("http", plots.http), ("codecs", plots.codecs), ("stores", plots.stores)]:
        if picture := plot():
            (raw.RESULTS / f"{name}.svg").write_text(picture)


main()
