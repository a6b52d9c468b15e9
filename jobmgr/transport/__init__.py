"""How the controller reaches a host. ``base.py`` has the contract; importing this loads no SSH library."""

from __future__ import annotations

from jobmgr.transport.registry import make_transport

__all__ = ["make_transport"]
