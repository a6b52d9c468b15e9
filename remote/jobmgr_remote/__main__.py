"""The way in: ``python3 -I -S ARCHIVE-OR-FOLDER VERB``, a request on stdin, the reply on stdout.

Python compiles this file anew for each call; so all else is in entry.py. Both have to compile under Python 2.7.
"""

import os
import sys

if __name__ == "__main__":
    # Started as a file or as a folder: the package's own folder may be on the path, the one above it has to
    # be.
    HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [os.path.dirname(HERE)] + [path for path in sys.path if os.path.abspath(path) != HERE]
    sys.dont_write_bytecode = sys.dont_write_bytecode or sys.version_info < (3,)

from jobmgr_remote.entry import main

if __name__ == "__main__":
    CODE = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, or nobody reads any more
            pass
    os._exit(CODE or 0)  # to take apart what was loaded would take a fifth of a short call's time
