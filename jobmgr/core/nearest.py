"""The name that somebody probably meant."""

from __future__ import annotations

from collections.abc import Collection

FEW = 12
MANY = 2000


def snake_case(text: str) -> str:
    """``Time-Limit`` and ``time limit`` as the keys are written: ``time_limit``."""
    return "_".join(text.lower().replace("-", " ").replace("_", " ").split())


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that is most like ``name``; None if none is, or if there are too many to compare."""
    if len(known) > MANY:
        return None
    import difflib  # only after a mistake

    folded = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def hint(name: str, known: Collection[str], what: str = "known") -> str:
    """`` (nearest: hpc)``, or `` (known: a, b)`` when they are few, or nothing; starts with a blank."""
    close = nearest(name, known)
    if close is not None:
        return f" (nearest: {close})"
    return f" ({what}: {', '.join(sorted(set(known)))})" if 0 < len(known) <= FEW else ""


def key_hint(key: str, known: Collection[str]) -> str:
    """The same for an unknown key: `` (write time_limit)`` when only its spelling differs."""
    written = snake_case(key)
    return f" (write {written})" if written in known else hint(key, known)
