"""The text of a job file, from a structured job: the one definition of what stands in it.

A job file (docs/protocol.md, "Job file") is bash: the runner's directives, the job's identity, its exported
variables, the user's scripts as single-quoted text, and as its last act the wrapper (``job/wrapper.sh``).
That is sourced from a copy whose name holds its digest, so that an upgrade never changes a job that waits in
a queue. Nothing that a user wrote is parsed by bash before the wrapper evaluates it: a syntax error fails
that job, with a record.

:func:`render` is pure. :func:`install_support` puts the wrapper and ``jobmgr-message`` where job files expect
them.
"""

import os
import re
import zlib
from functools import lru_cache  # re needs it, too

from jobmgr_remote import layout

#: Key of a job's ``resources`` -> variable in the job's environment.
RESOURCES = (
    ("queue", "JOBMGR_QUEUE"),
    ("account", "JOBMGR_ACCOUNT"),
    ("nodes", "JOBMGR_NODES"),
    ("tasks", "JOBMGR_TASKS"),
    ("cpus_per_task", "JOBMGR_CPUS_PER_TASK"),
    ("memory", "JOBMGR_MEMORY"),
    ("gpus", "JOBMGR_GPUS"),
    ("job_name", "JOBMGR_JOB_NAME"),
    ("mail", "JOBMGR_MAIL"),
)
#: Runners that know no time limit of their own: the wrapper enforces it.
UNLIMITED_RUNNERS = ("background", "at")
#: A text with more single quotes than that stands in double quotes: bash's time for a word that consists of n
#: quoted pieces grows with the square of n (half a minute for 5 MB of script).
MANY_QUOTES = 200
GRACE = 10
RETRY = 3600
#: What job files source, the wrapper last.
PARTS = ("scripts", "init", "file", "start", "wrapper")
WRAPPER = "wrapper.sh"
MESSAGE = "jobmgr-message"
SERVICE_BIN = layout.SERVICE + "/bin"

_is_ascii = getattr(str, "isascii", lambda text: False)  # from Python 3.7 on

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PARAMETER = re.compile(r"[A-Za-z0-9_]+\Z")
_WORD = re.compile(r"[A-Za-z0-9_.:+-]*\Z")
_SPECIAL = re.compile(r'[\\$`"]')
_REFERENCE = re.compile(r"\\(?=\$)|\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_SCRIPTS = (
    ("platform_init", "platform_init_script"),
    ("init", "init_script"),
    ("pre", "pre_script"),
    ("script", "script"),
    ("script_file", "script_file"),
    ("post", "post_script"),
    ("err", "err_script"),
    ("exit", "exit_script"),
)


def render(job: dict, run: dict, settings: dict) -> str:
    """The text of the job's file. Raises ValueError, saying which value, if a value cannot stand in one.

    ``job`` is an item of jobs-submit. ``run``: ``run_dir`` (absolute), ``suite``. ``settings``: ``bash``
    (absolute path), ``wrapper`` (relative to the run directory, from :func:`install_support`), ``instance``
    and ``hostname`` (this host), ``clock_ticks`` (per second), ``directives`` (lines of the runner).
    Optional: ``vacation_signals`` (names), ``native_variable`` and ``index_variable`` (where
    in the environment the runner's jobs find native id and array index), ``place_variable`` (the same for the
    cluster, if that is part of the native id), ``grace`` and ``retry`` (seconds).
    """
    run_dir, suite = run["run_dir"], run["suite"]
    cycle, task, submit = layout.split_job_id(job["job"])
    if not layout.is_token(job["token"]):
        raise ValueError("token: not a token: %r" % (job["token"],))
    if not run_dir.startswith("/") or _has_control(run_dir):
        raise ValueError("not an absolute run directory: %r" % (run_dir,))
    if not layout.is_part(suite):
        raise ValueError("not the name of a suite: %r" % (suite,))
    runner = job.get("runner") or "background"
    lines = ["#!" + settings["bash"]]
    lines.extend(_directive(line) for line in settings.get("directives") or ())
    lines.append("# jobmgr job %s of suite %s, token %s" % (job["job"], suite, job["token"]))
    lines.append("set +aefuC")
    lines.append("set +o posix")
    work_dir = job.get("work_dir") or layout.default_work_dir(cycle, task)
    # One command for many: bash takes a third less time for it.
    exported = _exports(job, run_dir, suite, (cycle, task, submit), runner, work_dir)
    lines.append(" \\\n    ".join(["export"] + ["%s=%s" % (name, quote(value, name)) for name, value in exported]))
    lines.append(_assignments(*_variables(job, settings, runner)))
    lines.append("jobmgr_environment() {\n    :")
    for name, value in job.get("environment") or ():
        lines.append("    export %s || return" % assignment(name, value))
    lines.append("}")
    scripts = [(name, job.get(key) or "") for name, key in _SCRIPTS]
    lines.append(_assignments(*[(name, _plain(value, name)) for name, value in scripts]))
    lines.append(". %s" % quote(run_dir + "/" + layout.check_relative(settings["wrapper"]), "wrapper"))
    lines.append("echo 'jobmgr: the job wrapper is not there' >&2; exit 127")
    return "\n".join(lines) + "\n"


def quote(value: object, what: str) -> str:
    """A text as one bash word that means exactly that text.

    Raises ValueError, with ``what`` in its text, for NUL and for broken Unicode.
    """
    text = _plain(value, what)
    if _is_ascii(text) and "'" not in text and "\0" not in text:  # nearly all
        return "'" + text + "'"
    if "\0" in text:
        raise ValueError("%s: holds a NUL character" % what)
    try:
        # Bytes of a path that this Python could not decode (3.6 in the C locale) go back to what they were.
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("%s: holds a character that is not Unicode text" % what)
    if text.count("'") <= MANY_QUOTES:
        return "'" + text.replace("'", "'\\''") + "'"
    return '"' + _SPECIAL.sub(r"\\\g<0>", text) + '"'


@lru_cache(maxsize=4)
def _assignments(*variables: "tuple[str, object]") -> str:
    """One command. The jobs of a batch have most of them in common."""
    return " \\\n    ".join("jobmgr_%s=%s" % (name, quote(value, name)) for name, value in variables)


def assignment(name: object, value: object) -> str:
    """``NAME=...`` in bash: ``$VAR`` and ``${VAR}`` of the value expand (if unset, to nothing), nothing else.

    ``\\$`` is a dollar sign. Raises ValueError for a name that is no variable's, or that belongs to jobmgr.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise ValueError("environment: not the name of a variable: %r" % (name,))
    if name.upper().startswith("JOBMGR_"):
        raise ValueError("environment: %s: names that begin with JOBMGR_ are jobmgr's own" % name)
    text = _plain(value, name)
    out = []
    literal = ""
    at = 0
    for match in _REFERENCE.finditer(text):
        if match.start() < at:
            continue  # the dollar sign behind a backslash
        literal += text[at:match.start()]
        at = match.end()
        variable = match.group(1) or match.group(2)
        if variable is None:
            literal += "$"
            at += 1
            continue
        out.append((quote(literal, name) if literal else "") + '"${%s-}"' % variable)
        literal = ""
    out.append(quote(literal + text[at:], name))
    return name + "=" + "".join(out)


def _exports(
    job: dict, run_dir: str, suite: str, identity: tuple, runner: str, work_dir: str
) -> "list[tuple]":
    cycle, task, submit = identity
    out = [
        ("JOBMGR_SUITE", suite),
        ("JOBMGR_SUITE_DIR", run_dir),
        ("JOBMGR_WORK_DIR", run_dir + "/" + layout.check_relative(work_dir)),
        ("JOBMGR_SHARE_DIR", run_dir + "/" + layout.SHARE),
        ("JOBMGR_LOG_DIR", run_dir + "/" + layout.job_dir(job["job"])),
        ("JOBMGR_CYCLE", cycle),
        ("JOBMGR_TASK", task),
        ("JOBMGR_JOB", job["job"]),
        ("JOBMGR_SUBMIT_NUMBER", submit),
        ("JOBMGR_TOKEN", job["token"]),
        ("JOBMGR_RUNNER", _word(runner, "runner")),
        ("JOBMGR_EVENTS", " ".join(_part(name) for name in job.get("events") or ())),
    ]
    resources = job.get("resources") or {}
    for key, variable in RESOURCES:
        if resources.get(key) not in (None, ""):
            out.append((variable, _plain(resources[key], key)))
    if job.get("time_limit") is not None:
        out.append(("JOBMGR_TIME_LIMIT", _seconds(job["time_limit"])))
    for name, value in job.get("parameters") or ():
        if not isinstance(name, str) or not _PARAMETER.match(name):
            raise ValueError("parameters: not a name: %r" % (name,))
        out.append(("JOBMGR_PARAM_" + name, _plain(value, name)))
    return out


def _variables(job: dict, settings: dict, runner: str) -> "list[tuple]":
    vacation = settings.get("vacation_signals") or ()
    limit = job.get("time_limit") if runner in UNLIMITED_RUNNERS else None
    if job.get("script_file"):
        layout.check_relative(job["script_file"])
    return [
        ("instance", settings["instance"]),
        ("hostname", settings["hostname"]),
        ("clock_ticks", str(int(settings["clock_ticks"]))),
        ("native_variable", _word(settings.get("native_variable") or "", "native_variable")),
        ("index_variable", _word(settings.get("index_variable") or "", "index_variable")),
        *_place_variable(settings),
        ("vacation_signals", " ".join(_word(name, "vacation_signals") for name in vacation)),
        ("time_limit", "" if limit is None else _seconds(limit)),
        ("grace", str(int(settings.get("grace", GRACE)))),
        ("retry", str(int(settings.get("retry", RETRY)))),
        # Those of background jobs go together, by remote-tidy: here it takes a program that does it.
        ("default_work_dir", "" if job.get("work_dir") or runner == "background" else "1"),
    ]


def _place_variable(settings: dict) -> "list[tuple]":
    name = _word(settings.get("place_variable") or "", "place_variable")
    return [("place_variable", name)] if name else []


def _directive(line: str) -> str:
    if not line.startswith("#") or _has_control(line.replace("\t", " ")):
        raise ValueError("directives: not one line of comment: %r" % (line,))
    quote(line, "directives")
    return line


def _plain(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ",".join(_plain(part, what) for part in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("%s: neither text nor number: %r" % (what, value))
    return str(value)


def _word(text: object, what: str) -> str:
    if not isinstance(text, str) or not _WORD.match(text):
        raise ValueError("%s: not a word: %r" % (what, text))
    return text


def _part(name: object) -> str:
    if not layout.is_part(name):
        raise ValueError("events: not a name: %r" % (name,))
    return str(name)


def _seconds(value: object) -> str:
    """``90.0`` -> ``90``, ``1.5`` -> ``1.5``; never an exponent."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError("time_limit: not a number of seconds: %r" % (value,))
    if not 0 < number < 1e9:
        raise ValueError("time_limit: not a positive number of seconds: %r" % (value,))
    return ("%.3f" % number).rstrip("0").rstrip(".")


def _has_control(text: str) -> bool:
    return not text.isprintable() and any(c < " " or c == "\x7f" for c in text)


def install_support(run_dir: str) -> str:
    """Have the wrapper and jobmgr-message in the run directory; return the wrapper's path relative to it.

    The wrapper reads each script through a file of its name beside it. Costs two comparisons when they are
    there. Raises OSError if they cannot be written.
    """
    sources = {name: without_comments(_source(name + ".sh")) for name in PARTS}
    message = _source(MESSAGE + ".sh")
    content = b"".join(sources[name] for name in PARTS)
    digest = "%08x%08x" % (zlib.crc32(content), zlib.adler32(content))
    path = "%s/wrapper-%s.sh" % (layout.LIB, digest)
    if not os.path.exists(run_dir + "/" + path):  # it comes last: where it is, the others are
        for name, key in _SCRIPTS:
            if key != "script_file":
                _have("%s/%s/%s" % (run_dir, layout.LIB, key), b'eval "$jobmgr_%s"\n' % name.encode(), 0o600)
        sources["start"] = sources["start"].replace(b"@digest@", digest.encode())
        for name in PARTS:
            _have("%s/%s/%s-%s.sh" % (run_dir, layout.LIB, name, digest), sources[name], 0o600)
    _have(run_dir + "/" + path, sources["wrapper"], 0o600)
    _have(run_dir + "/" + SERVICE_BIN + "/" + MESSAGE, message, 0o700)
    return path


def without_comments(source: bytes) -> bytes:
    """One of our own shell sources without the lines that are comments: bash would read them for each job."""
    return b"".join(line for line in source.splitlines(True) if not line.lstrip().startswith(b"#"))


def start_beside(wrapper: str) -> str:
    """The path of what starts a job that a slot looks after, beside the wrapper's."""
    return wrapper.replace("/wrapper-", "/start-")


def _source(name: str) -> bytes:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "job", name)
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except NotADirectoryError:  # run from inside an archive
        import pkgutil

        return pkgutil.get_data("jobmgr_remote", "job/" + name) or b""


def _have(path: str, content: bytes, mode: int) -> None:
    try:
        with open(path, "rb") as stream:
            if stream.read() == content:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = "%s.%d" % (path, os.getpid())
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    os.chmod(beside, mode)
    os.replace(beside, path)
