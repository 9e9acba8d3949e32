"""Puts the figures of a run into docs/performance.md, between its markers, and draws the chart beside it."""

import json
import re
import sys
from pathlib import Path

import blocks
import chart

MARKED = re.compile(r"(<!-- bench:([a-z0-9-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def main(file, page):
    result = json.loads(Path(file).read_text())
    page = Path(page)
    page.write_text(filled(page.read_text(), blocks.all_of(result)))
    rows = blocks.chart_rows(result)
    if rows:
        title = "Processor time of the server per exchange, in µs: shorter is better"
        page.with_suffix(".svg").write_text(chart.bars(title, rows))


def filled(page, texts):
    """The page with every place filled. A place without a text, and a text without a place, are mistakes."""
    places = [name for _, name, _ in MARKED.findall(page)]
    if sorted(places) != sorted(texts):
        raise SystemExit(f"places and texts differ: {', '.join(sorted(set(places) ^ set(texts))) or 'one is there twice'}")
    return MARKED.sub(lambda found: found[1] + texts[found[2]].strip() + "\n" + found[3], page)


if __name__ == "__main__":
    main(*sys.argv[1:])
