"""A few animals of the zoo, end to end: real training, real instruments, real reader."""

import pytest
import torch
from tests.zoo.__main__ import findings
from tests.zoo.cases import CASES

from backslide_detector.checks import run_checks


@pytest.mark.parametrize("name", ["F08", "F27", "F28", "H03", "H26"])
def test_the_zoo_is_told_apart(name):
    (case,) = [case for case in CASES if case.name == name]
    torch.manual_seed(7)
    found = findings(run_checks(case.run()))
    assert set(found[:1]) <= set(case.labels)
    assert bool(found) == bool(case.labels)
