"""What a call of the host side is: a verb, an installation, a restricted key, slots.

This file has to compile under Python 2.7 and has to say "too old" there by wire; so it uses no syntax of
Python 3, and imports nothing of ours before it knows which Python it is.
"""

import os
import sys

OLDEST = (3, 6)
EXIT_USAGE = 2


def main(argv=None):
    """Carry out one call and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    above = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.version_info[:2] < OLDEST:
        return too_old()
    if words == ["--version"]:
        return print_version()
    if words == ["install"]:
        from jobmgr_remote import install

        return install.main(above)
    if words[:1] == ["restricted"]:
        from jobmgr_remote import restricted

        return restricted.main(words[1:], above)
    if words[:1] == ["slot"]:
        from jobmgr_remote import slot

        slot.main(words[1:])
    from jobmgr_remote import session

    if len(words) != 1:
        sys.stderr.write("usage: jobmgr-remote VERB, with a request on stdin\n")
        return EXIT_USAGE
    session.mark_use(above)
    return session.main(words[0])


def too_old():
    """Say by wire that this Python cannot run the host side."""
    text = "%s is Python %d.%d; 3.6 or newer is needed" % (
        (sys.executable or "python",) + tuple(sys.version_info[:2])
    )
    text = text.replace("\\", "/").replace('"', "'")
    sys.stdout.write('@jobmgr {"error":["too-old","%s"]}\n@jobmgr {"end":0}\n' % text)
    sys.stdout.flush()
    return 1


def print_version():
    """``jobmgr-remote 1.0.0 (wire 1, Python 3.11.2)``"""
    from jobmgr_remote import __version__, wire

    sys.stdout.write(
        "jobmgr-remote %s (wire %s, Python %s)\n"
        % (
            __version__,
            ", ".join(str(number) for number in wire.SERVED),
            sys.version.split()[0],
        )
    )
    return 0
