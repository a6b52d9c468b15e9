"""Fixtures of the lab: each system is started when a test first asks for it, once, and ends with the session.

They live here and not in conftest.py so that tests that need no lab do not read it: a test module imports
those that it uses. A system that cannot be had here is skipped with its reason, an error where ``CI`` is
set.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from needs import need, need_root

from .atd import AtHost
from .gridengine import GridEngine
from .hosts import BATCH_COMMANDS, Host, Lab
from .slurm import SlurmCluster

INSTALL = "(scripts/lab-packages.sh installs it)"


def need_lab(*programs: str) -> None:
    """For tests that start hosts and these programs in them."""
    need_root()
    for program in ("unshare", "nsenter", "ip", "sshd", *programs):
        found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
        need(found, f"{program} is not installed {INSTALL}")


@pytest.fixture(scope="session")
def bare_host() -> Iterator[Host]:
    """A host without any batch system."""
    need_lab()
    with Lab() as lab:
        yield lab.host("wizard", hide=BATCH_COMMANDS)


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """Two nodes, no accounting; ended jobs are forgotten after 10 seconds."""
    need_lab("slurmctld", "slurmd", "munged")
    with Lab() as lab:
        yield SlurmCluster(lab, min_job_age=10)


@pytest.fixture(scope="session")
def slurm_accounting() -> Iterator[SlurmCluster]:
    """Two nodes with slurmdbd; ended jobs are forgotten after 10 seconds."""
    need_lab("slurmctld", "slurmd", "munged", "slurmdbd", "mariadbd", "mariadb-install-db")
    with Lab() as lab:
        yield SlurmCluster(lab, accounting=True, min_job_age=10)


@pytest.fixture(scope="session")
def grid_engine() -> Iterator[GridEngine]:
    """One host, master and execution daemon."""
    need_lab("sge_qmaster", "sge_execd", "qconf")
    with Lab() as lab:
        yield GridEngine(lab)


@pytest.fixture(scope="session")
def at_host() -> Iterator[AtHost]:
    """One host with atd."""
    need_lab("atd", "at")
    with Lab() as lab:
        yield AtHost(lab)
