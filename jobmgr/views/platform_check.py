"""``platforms check`` for people: a line per finding, advice below what hurts, the stanza at the end."""

from __future__ import annotations

from jobmgr.core.platform_report import Finding, Level, PlatformReport
from jobmgr.views import color, text

MARKS = {Level.OK: "ok", Level.INFO: "note", Level.WARNING: "warn", Level.ERROR: "FAIL"}
_PAINTS = {Level.OK: "32", Level.INFO: None, Level.WARNING: color.YELLOW, Level.ERROR: "31"}


def lines(report: PlatformReport, *, colored: bool = False) -> list[str]:
    """The report, host by host."""
    shown: list[str] = []
    width = max((text.width(one.topic) for one in report.findings), default=0)
    host = None
    for one in report.findings:
        if one.host != host:
            host = one.host
            shown.append(text.one_line(host))
        shown += _finding(one, width, colored)
    shown += ["", _verdict(report), "", "recommended for platforms.yaml:", ""]
    return shown + [f"  {text.one_line(line)}".rstrip() for line in report.stanza.splitlines()]


def _finding(one: Finding, width: int, colored: bool) -> list[str]:
    mark = color.paint(f"{MARKS[one.level]:4}", _PAINTS[one.level], colored)
    seconds = "" if one.seconds is None else f"  ({one.seconds:.2f} s)"
    shown = [f"  {mark}  {text.pad(text.one_line(one.topic), width)}  {text.one_line(one.text)}{seconds}"]
    if one.advice:
        shown.append(f"  {'':4}  {'':{width}}  -> {text.one_line(one.advice)}")
    return shown


def _verdict(report: PlatformReport) -> str:
    errors = sum(one.level is Level.ERROR for one in report.findings)
    warnings = sum(one.level is Level.WARNING for one in report.findings)
    if not errors and not warnings:
        return f"{report.platform} is ready"
    words = [
        f"{count} {word}"
        for count, word in ((errors, "will not work"), (warnings, "could be better"))
        if count
    ]
    return f"{report.platform}: {', '.join(words)}"
