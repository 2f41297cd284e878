"""The ledger as a page, with its pictures. `python -m seqlaws.claims_page docs` writes claims.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from seqlaws.catalogue import article_titles, claim_sections
from seqlaws.claim import Claim
from seqlaws.ledger import CHANGED, ERROR, NOT_RUN, Entry, chosen, counts, examine, pairs

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid #ddd; }
section { margin: 1.6rem 0; } h3 { margin: 0 0 .3rem; font-size: 1.05rem; }
table { border-collapse: collapse; font-size: .9rem; } td, th { padding: .15rem .7rem .15rem 0; text-align: left;
vertical-align: top; } td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: #f5f5f5; padding: .5rem .7rem; overflow-x: auto; white-space: pre-wrap; }
.v { font-size: .75rem; font-weight: 700; padding: .1rem .5rem; border-radius: .3rem; color: #fff;
white-space: nowrap; }
.HOLDS { background: #1a7f37; } .IF { background: #9a6700; } .REFUTED { background: #b42318; }
.NOT { background: #666; } .red { background: #d00; } small { color: #666; }
svg { max-width: 100%; height: auto; } details { margin: .3rem 0; }
"""


def html(entries: list[Entry]) -> str:
    """The ledger as one HTML page that needs no other file."""
    sections = claim_sections()
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Claims</title>",
        f"<style>{STYLE}</style></head><body><h1>Claims about recurrence and attention</h1>",
        f"<p>{escape(_summary(entries))}</p>",
        _html_table(entries),
    ]
    for letter, title in sections.items():
        own = [entry for entry in entries if entry.claim.section == letter]
        if own:
            parts.append(f"<h2>{letter} · {escape(title)}</h2>")
            parts += [_html_entry(entry) for entry in own]
    parts.append(_html_pairs(entries))
    parts.append("<h2>Articles</h2><ul>")
    parts += [f"<li>{name}: {escape(title)}</li>" for name, title in article_titles().items()]
    parts.append("</ul></body></html>\n")
    return "\n".join(parts)


def _html_table(entries: list[Entry]) -> str:
    cells = " ".join(
        f"<a href='#{entry.claim.id}' class='v {_css(entry)}' title='{escape(entry.claim.sentence, quote=True)}'>"
        f"{entry.claim.id}</a>"
        for entry in entries
    )
    return f"<p style='line-height:2'>{cells}</p>"


def _css(entry: Entry) -> str:
    return (
        "red"
        if entry.status in (CHANGED, ERROR)
        else entry.claim.verdict.word.split()[-1 if "IF" in entry.claim.verdict.word else 0]
    )


def _html_entry(entry: Entry) -> str:
    claim = entry.claim
    word = entry.status.upper() if entry.status in (CHANGED, ERROR) else claim.verdict.word
    parts = [
        f"<section id='{claim.id}'><h3>{claim.id} <span class='v {_css(entry)}'>{word}</span> "
        f"{escape(claim.sentence)} <small>{' '.join(claim.articles)}</small></h3>",
    ]
    if because := _because(claim):
        parts.append(f"<p>{escape(because)}</p>")
    if entry.message and entry.status in (CHANGED, ERROR, NOT_RUN):
        parts.append(f"<pre>{escape(entry.message)}</pre>")
    if claim.statement:
        parts.append(f"<pre>{escape(claim.statement)}</pre><p><b>Rule.</b> {escape(claim.rule)}</p>")
    if claim.budget:
        parts.append(f"<p><b>Budget.</b> {escape(claim.budget)}</p>")
    if entry.evidence.observations:
        parts.append("<table><tr><th>case</th><th>measured</th><th></th></tr>")
        for each in entry.evidence.observations:
            side = "for" if each.supports else "against"
            met = "" if each.met else " <b>false</b>"
            parts.append(
                f"<tr><td>{escape(each.case)}</td><td class='n'>{escape(each.measured)}{met}</td><td>{side}</td></tr>"
            )
        parts.append("</table>")
    parts += [picture.svg() for picture in entry.pictures]
    if claim.picture:
        parts.append(f"<p>Picture: <a href='#{claim.picture}'>that of {claim.picture}</a></p>")
    if claim.source:
        parts.append(f"<p><small>{escape(claim.source)}</small></p>")
    return "\n".join([*parts, "</section>"])


def _html_pairs(entries: list[Entry]) -> str:
    shown = {entry.claim.id for entry in entries}
    rows = []
    for pair, one, other in pairs():
        if {one.id, other.id} <= shown:
            both = "</td><td>".join(
                f"<a href='#{claim.id}'>{place}</a> {escape(claim.sentence)} <b>{claim.verdict.word}</b>"
                for place, claim in ((pair.one, one), (pair.other, other))
            )
            rows.append(f"<tr><td>{both}</td><td>{escape(pair.why)}</td></tr>")
    return "\n".join(["<h2>Contradictions</h2><table>", *rows, "</table>"]) if rows else ""


def markdown(entries: list[Entry], folder: Path) -> str:
    """The ledger as Markdown; its pictures go into a folder beside it."""
    lines = [
        "# Claims",
        "",
        "What four articles say about recurrence and attention, and what experiments say.",
        "Generated from the docstrings in `spec/claims/` by `python -m seqlaws.claims_page docs`.",
        "`seqlaws claims ID` runs one of them, `seqlaws claims --html FILE` writes all with their pictures.",
        "",
        *(f"- **{name}** {title}" for name, title in article_titles().items()),
        "",
        _summary(entries),
        "",
        "## Contradictions",
        "",
        "| one | the other | why not both |",
        "|---|---|---|",
        *(
            f"| **{pair.one}** {_cell(one.sentence)} {one.verdict.word}. "
            f"| **{pair.other}** {_cell(other.sentence)} {other.verdict.word}. | {_cell(pair.why)} |"
            for pair, one, other in pairs()
        ),
    ]
    for letter, title in claim_sections().items():
        lines += ["", f"## {letter}. {title}"]
        for entry in entries:
            if entry.claim.section == letter:
                lines += ["", *_markdown_entry(entry, folder)]
    return "\n".join(lines) + "\n"


def _markdown_entry(entry: Entry, folder: Path) -> Iterator[str]:
    claim = entry.claim
    yield f"### {claim.id}. {claim.sentence}"
    yield from (
        "",
        f"**{claim.verdict.word}**{f' {_because(claim)}' if _because(claim) else ''} ({', '.join(claim.articles)})",
    )
    if claim.statement:
        yield from ("", "```text", claim.statement, "```", "", f"Rule: {claim.rule}")
    if claim.budget:
        yield from ("", f"Budget: {claim.budget} (thorough profile only)")
    if claim.source:
        yield from ("", f"Source: {claim.source}")
    if entry.evidence.observations:
        yield from ("", "| measured | | |", "|---|---|---|")
    for each in entry.evidence.observations:
        yield f"| {_cell(each.case)} | {_cell(each.measured)} | {'for' if each.supports else 'against'} |"
    for number, picture in enumerate(entry.pictures):
        file = folder / f"{claim.id}{f'-{number + 1}' if number else ''}.svg"
        file.write_text(picture.svg(), encoding="utf-8")
        yield from ("", f"![{picture.title}]({folder.name}/{file.name})")
    if claim.picture:
        yield from ("", f"Picture: that of {claim.picture}.")


def _because(claim: Claim) -> str:
    mark = {"HOLDS IF": "If ", "REFUTED": "But "}.get(claim.verdict.word, "")
    return f"{mark}{claim.verdict.because}." if claim.verdict.because else ""


def _summary(entries: list[Entry]) -> str:
    of = ", ".join(f"{number} {word}" for word, number in counts(entries).items())
    return f"{len(entries)} claims: {of}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(folder: str) -> None:
    """Run every experiment and write the page and its pictures into a folder."""
    pictures = Path(folder, "claims")
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    Path(folder, "claims.md").write_text(markdown(examine(chosen([]), training=True), pictures), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
