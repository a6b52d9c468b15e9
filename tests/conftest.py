"""Fixtures for every test. Helpers that are no fixtures live in modules of their own beside this file."""

from __future__ import annotations
