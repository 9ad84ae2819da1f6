"""A disk without room, three ways: jobs that go on, and what they were promised is stored.

Each way runs one job with its shipper and a `backslide sync` behind the faulty proxy. What a
full disk refuses is counted and published; it is not promised and may be missing.
"""

import random
import shutil
import subprocess
import sys
from pathlib import Path

from tests.faulty_proxy import Fault, FaultyProxy
from tests.history.chaos import FAULTS
from tests.history.check import Diary, Verdict, judge
from tests.mlflow_server import MlflowServer
from tests.sdk.ship import tools

STEPS = 6_000
SCRIPT = """
exec 3> >(cat > {diary})  # by a pipe: the limits of the disk are not for the diary
{before}
{python} -m tests.history.job /dev/fd/3 {first} --steps {steps} --pause 0.001 {options}
for round in 1 2 3 4 5 6 7 8 9 10; do
    {python} -m backslide.cli sync {spool} && ls {spool}/*/job.json 2>/dev/null || break
    sleep 1
done
exec 3>&-
wait
"""
WAYS = {
    "file system of 256 kB": ("mount -t tmpfs -o size=256k none {spool}", ""),
    "files of at most 20 kB": ("ulimit -f 20", ""),
    "every tenth write fails or is cut": ("true", "--fail 0.05"),
}
"""What is done before the job starts, and its own options."""


def fill(way: str, server: MlflowServer, root: Path, first: int) -> tuple[Diary, Verdict]:
    """Runs one job on a disk like that; its diary and what the history shows."""
    before, options = WAYS[way]
    diary, spool = root / "diary", root / "spool"
    spool.mkdir(parents=True)
    lots = random.Random(3)

    def choose(_: str) -> Fault:
        return lots.choice(FAULTS) if lots.random() < 0.2 else Fault.NONE

    names = {
        "python": sys.executable,
        "diary": diary,
        "spool": spool,
        "first": first,
        "steps": STEPS,
        "options": options,
    }
    script = SCRIPT.format(before=before.format(**names), **names)
    shell = ["unshare", "--mount", "bash", "-c"] if "mount" in before else ["bash", "-c"]
    with FaultyProxy(server.port, choose) as proxy, (root / "log").open("wb") as log:
        subprocess.run(
            [*shell, script],
            env=tools.environment(proxy.uri, spool),
            cwd=tools.HOUSE,
            stdout=log,
            stderr=log,
            check=False,
            timeout=400,
        )
    found = Diary.read(diary)
    assert found is not None, (root / "log").read_text()
    return found, judge(server.uri, [found], {found.client}, root / "scratch")


def possible(way: str) -> bool:
    """Whether this machine lets us make such a disk."""
    if "mount" not in WAYS[way][0]:
        return True
    unshare = shutil.which("unshare")
    return unshare is not None and not subprocess.run([unshare, "-m", "true"]).returncode
