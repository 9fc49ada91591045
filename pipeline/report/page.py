"""Formats sections as one HTML file that works offline: it contains Plotly's script and blocks all requests."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from pipeline.report.parts import Listing, Part, Plot, Section, Table

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def page(title: str, about: Sequence[str], sections: Sequence[Section]) -> str:
    """The HTML text of a page with paragraphs `about` below its title; empty sections are left out."""
    used = [section for section in sections if section.parts]
    links = "".join(f'<li><a href="#{section.name}">{html.escape(section.title)}</a></li>' for section in used)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{html.escape(title)}</title>
<style>{_package_file("page.css")}</style>
</head>
<body>
<header>
<h1>{html.escape(title)}</h1>
{"".join(f"<p>{html.escape(line)}</p>" for line in about)}
<noscript><p>The plots need JavaScript; tables and pictures of scenes do not.</p></noscript>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{"".join(map(_section, used))}</main>
<script>{get_plotlyjs()}</script>
<script>{_package_file("page.js")}</script>
</body>
</html>
"""


def _package_file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _section(section: Section) -> str:
    heading = f'<h2 id="{section.name}-title">{html.escape(section.title)}</h2>'
    parts = "".join(map(_part, section.parts))
    return (
        f'<section id="{section.name}" aria-labelledby="{section.name}-title">{heading}\n'
        f'<div class="parts">\n{parts}</div></section>\n'
    )


def _part(part: Part) -> str:
    head = f'<h3>{html.escape(part.title)}</h3>\n<p class="caption">{html.escape(part.caption)}</p>\n'
    if isinstance(part, Plot):
        return _figure(part, head)
    kind, body = ("table", _table(part)) if isinstance(part, Table) else ("listing", _listing(part))
    return f'<div class="part {kind}" id="{part.name}">\n{head}{body}</div>\n'


def _figure(plot: Plot, head: str) -> str:
    """A plot as JSON for the script of the page. "<" is escaped, so that no text can end the script element."""
    kind, still, alt = "figure", "", html.escape(f"{plot.title}. {plot.alt}.")
    if plot.still is not None:
        source = f"data:image/png;base64,{base64.b64encode(plot.still).decode()}"
        kind, still = "figure space", f'<img class="still" alt="{alt}" src="{source}">\n'
    drawing = plot.drawing.to_json().replace("<", "\\u003c")
    return (
        f'<figure class="part {kind}" id="{plot.name}">\n{head}{still}'
        f'<div class="plot" role="img" aria-label="{alt}"></div>\n'
        f'<script type="application/json">{drawing}</script>\n</figure>\n'
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in table.header)
    rows = "".join(map(_row, table.rows))
    body = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"
    return f'<div class="scroll" role="region" aria-label="{html.escape(table.title)}" tabindex="0">{body}</div>\n'


def _row(cells: Sequence[str]) -> str:
    first, *rest = map(html.escape, cells)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>\n'


def _listing(listing: Listing) -> str:
    return f'<pre tabindex="0">{html.escape(chr(10).join(listing.lines))}</pre>\n'
