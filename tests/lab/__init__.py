"""Job hosts of the tests' own: namespaces on this machine that run real sshd, Slurm, Grid Engine and at.

``hosts`` makes machines, ``slurm``, ``gridengine`` and ``atd`` make queues of them, ``fixtures`` hands them
to tests. Nothing of it touches the machine it runs on but for one bridge (``jmN``) that goes with the test
session.
"""
