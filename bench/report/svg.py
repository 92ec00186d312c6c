"""The little of SVG that the plots are made of. One look for all of them."""

import html
import math

STYLE = """
  text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2933 }
  .title { font-size: 17px; font-weight: 600 }
  .small { font-size: 11.5px; fill: #616e7c }
  .head { font-weight: 600; paint-order: stroke; stroke: #ffffff; stroke-width: 6px }
  .ours { fill: #0f766e } .ours-too { fill: #6fb8b0 } .theirs { fill: #8b98a5 } .theirs-too { fill: #c6ced6 }
  .line-ours { stroke: #0f766e; stroke-width: 2; fill: none } .line-ours-too { stroke: #6fb8b0; stroke-width: 2; fill: none }
  .axis { stroke: #e4e7eb } .rule { stroke: #52606d; stroke-dasharray: 3 3 } .link { stroke: #c6ced6; stroke-width: 2 }
  .floor { fill: #ffffff; stroke: #1f2933; stroke-width: 1.5 }
"""


def text(x, y, words, kind="", anchor="start"):
    kind = f' class="{kind}"' if kind else ""
    anchor = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}"{anchor}>{html.escape(words, quote=False)}</text>'


def bar(x, y, width, height, kind):
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height}" rx="2"/>'


def cut(x, y, height):
    """Across a bar that goes on: two gaps."""
    gap = lambda at: f'<path d="M{at:.1f} {y + height + 1:.1f}l6 {-height - 2}" stroke="#ffffff" stroke-width="3"/>'
    return gap(x) + gap(x + 7)


def line(x1, y1, x2, y2, kind="axis"):
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def dot(x, y, kind, radius=5):
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def path(points, kind):
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def legend(x, y, entries):
    """Squares, or dots where a kind is round, with what they mean."""
    out = []
    for kind, words, is_round in entries:
        out.append(dot(x + 5, y - 4.5, kind) if is_round else bar(x, y - 10, 11, 11, kind))
        out.append(text(x + 17, y, words, "small"))
        x += 17 + 6.4 * len(words) + 22
    return out


def number(value):
    """Three digits, as far as there are any: 0.12, 1.23, 12.3, 123, 12,345."""
    digits = min(2, max(0, 2 - math.floor(math.log10(value)))) if value > 0 else 0
    return f"{value:,.{digits}f}"


def log_scale(low, high, start, width):
    return lambda value: start + width * (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low))


def picture(width, height, title, notes, body):
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" viewBox="0 0 {width} {height:.0f}">',
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        text(24, 32, title, "title"),
    ]
    head += [text(24, 52 + 17 * at, note, "small") for at, note in enumerate(notes)]
    return "\n".join([*head, *body, "</svg>"]) + "\n"
