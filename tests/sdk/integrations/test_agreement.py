"""Two processes of one training stop together, though only the first hears the detector."""

from tests.mlflow_server import free_port
from tests.sdk.ship import tools

RANK = """
import os, sys
from datetime import timedelta
from types import SimpleNamespace
from torch import distributed
from backslide.integrations.session import Session

rank = int(sys.argv[1])
store = distributed.TCPStore("127.0.0.1", int(sys.argv[2]), 2, rank == 0)
distributed.init_process_group(
    "gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60)
)
session = Session("l", {})
session.run = SimpleNamespace(on_fault="stop", should_stop=rank == 0, step=lambda: None)
steps = 1
while not session._step():
    steps += 1
print(steps)
distributed.destroy_process_group()
"""


def test_processes_stop_at_the_same_step(tmp_path):
    port = str(free_port())
    said = tools.together(
        [["-c", RANK, str(rank), port] for rank in range(2)],
        2 * [tools.environment("http://127.0.0.1:9", tmp_path)],
    )
    assert [output.split() for output in said] == [["50"], ["50"]]
