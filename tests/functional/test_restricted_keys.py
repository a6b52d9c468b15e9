import time
from pathlib import Path
import pytest
from restricted_hosts import *

@pytest.mark.parametrize("kind", ["fabric","openssh"])
def test_try(make_sshd, tmp_path, kind):
    sshd = make_plain(make_sshd)
    install(sshd)
    session = session_at(sshd, tmp_path / "c", transport=kind)
    k = session.authorized_key("wizard")
    print(k.line)
    restrict(sshd, k.line)
    r = ssh(sshd, "id"); print(r)
    with session:
        (tmp_path/"in.txt").write_text("hello")
        t=time.time()
        job = session.run("wizard", ["sh","-c","cat in.txt > out.txt; echo said"], inputs=[tmp_path/"in.txt"], outputs=["out.txt"])
        job.wait(60)
        print(job.state, job.why())
        print(log(sshd))
        run = session.open("adhoc")
        print(run.retrieve())
        print([str(p) for p in (tmp_path/"c"/"runs").rglob("*") if p.is_file()])
