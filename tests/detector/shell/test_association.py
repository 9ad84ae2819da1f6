"""What earlier retrains were made from comes from the listing and from the ledger."""

import json

import pytest
from sqlalchemy import create_engine, text
from tests.detector.shell.builders import a_detector, a_ledger, a_run, a_store

from backslide.contract import Artifact
from backslide_detector.evidence import DataSummary
from backslide_detector.scan import scan

RETRAINS = 22


@pytest.fixture
def ledger(tmp_path):
    ledger = a_ledger(tmp_path)
    yield ledger
    ledger.close()


def a_retrain(number: int):
    """Every third one has a larger rate and 1.5 points more errors; the data grow."""
    large, rows = number % 3 == 0, 100 + number // 4
    return a_run(
        number,
        0.05 + 0.015 * large + 0.0005 * (number * 7 % 5),
        params={"test_examples": "2000", "lr": "0.2" if large else "0.1"},
        data={"train": DataSummary("train", f"digest {rows}", rows=rows)},
    )


def test_parameters_come_from_the_listing_and_data_from_the_ledger(ledger, tmp_path):
    store = a_store(*map(a_retrain, range(RETRAINS)))
    list(scan(a_detector(store, ledger)))
    last = f"{RETRAINS - 1:032x}"
    told = json.loads(store.artifacts[last][Artifact.VERDICT])["association"]
    assert told["retrains"] == RETRAINS - 1
    by_name = {tuple(row["what"]): row for row in told["factors"]}
    rate = by_name["parameter lr",]
    assert abs(rate["effect"]) == pytest.approx(0.015, abs=0.002)
    assert rate["pvalue"] < 0.001
    assert ("train rows", "train content") in by_name
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.connect() as connection:
        kept = connection.scalars(text("select memory from past")).all()
    engine.dispose()
    assert not any("parameter lr" in memory for memory in kept), "every listing has them"
    assert all("train rows" in memory for memory in kept)
