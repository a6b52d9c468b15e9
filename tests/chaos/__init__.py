"""Faults, injected everywhere: into hosts, the way there, and the controller. ``make chaos`` runs all of it."""
