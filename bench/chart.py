"""A bar chart as an SVG that is legible on light and dark pages."""

from html import escape
from statistics import median

WIDTH, LINE, LABELS, FIGURES = 760, 26, 310, 80

STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.value { font-variant-numeric: tabular-nums }
.bar { fill: #8c959f }
.cut { stroke: #ffffff; stroke-width: 4 }
.ours { fill: #1a7f5a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #6e7681 }
  .cut { stroke: #0d1117 }
  .ours { fill: #3fb68b }
}
"""


def bars(title, rows):
    """Rows of a label, a value, its text, and whether it is ours; drawn in the order given."""
    longest = shown_whole([value for _, value, _, _ in rows])
    height = (len(rows) + 1) * LINE + 20
    drawn = "\n".join(bar(number, row, longest) for number, row in enumerate(rows, 1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">\n'
        f"<style>{STYLE}</style>\n"
        f'<text class="title" x="10" y="22">{escape(title)}</text>\n{drawn}\n</svg>\n'
    )


def shown_whole(values):
    """The value at full width. One that is far above the others would leave them no room: its bar is cut."""
    return min(max(values), 4 * median(values))


def bar(number, row, longest):
    label, value, text, ours = row
    top = number * LINE + 10
    width = max(1, round(min(value / longest, 1) * (WIDTH - LABELS - FIGURES)))
    cut = f'<path class="cut" d="M{LABELS + width - 14} {top + 22}l8 -22"/>' if value > longest else ""
    return (
        f'<text x="{LABELS - 8}" y="{top + 15}" text-anchor="end">{escape(label)}</text>'
        f'<rect class="bar{" ours" if ours else ""}" x="{LABELS}" y="{top + 2}" width="{width}" height="{LINE - 8}" rx="2"/>{cut}'
        f'<text class="value" x="{LABELS + width + 6}" y="{top + 15}">{escape(text)}</text>'
    )
