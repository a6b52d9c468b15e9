"""JSON and signals without what the standard library wraps around them.

``json`` imports ``re``, and that and ``signal`` import ``enum``: together more than Python itself needs to start, on
each call of each host. Here are the C parts of both (CPython has had them under these names since before 3.6); where
a Python has none, the modules themselves do the same.
"""

try:
    import _signal as signals
except ImportError:
    import signal as signals  # type: ignore[no-redef]  # noqa: F401

try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner
except ImportError:
    make_scanner = None

BLANKS = " \t\n\r"


class _Plain(object):
    """What ``json.JSONDecoder()`` tells the scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float  # NaN, Infinity, -Infinity
    memo = None


def _refuse(value: object) -> object:
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


if make_scanner is not None:
    _scan = make_scanner(_Plain)
    _encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True)

    def raw_decode(text: str) -> "tuple[object, int]":
        """As ``json.JSONDecoder().raw_decode``: the value that a text begins with, and its end. Raises ValueError."""
        try:
            return _scan(text, 0)
        except (StopIteration, SystemError):  # the latter until 3.12, where json.decoder, which has the error's class,
            raise ValueError("no JSON value")  # is not loaded

    def loads(text: str) -> object:
        """As ``json.loads``. Raises ValueError."""
        text = text.strip(BLANKS)
        value, end = raw_decode(text)
        if end != len(text):
            raise ValueError("extra data behind a JSON value")
        return value

    def dumps(value: object) -> str:
        """As ``json.dumps``, ASCII only and without blanks. Raises TypeError or ValueError."""
        return "".join(_encode(value, 0))

else:
    import json

    raw_decode = json.JSONDecoder().raw_decode
    loads = json.loads
    dumps = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
