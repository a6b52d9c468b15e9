"""Benchmarks: jobmgr beside a hand-written floor and beside what a user would pick instead. ``make bench``."""
