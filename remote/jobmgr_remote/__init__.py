"""The host side of jobmgr: standard library only, Python 3.6 or newer. It never imports jobmgr."""

__version__ = "1.0.0"
