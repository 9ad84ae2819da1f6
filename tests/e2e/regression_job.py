"""A lineage of regressions as users write them; run as a script by the end-to-end tests.

The third retrain forgets a feature that matters at one of three sites. Prints the run ids.
"""

import sys

import numpy as np

import backslide

N, PATIENTS = 900, 60


def main() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(2 * N, 3))
    patients = random.integers(0, PATIENTS, 2 * N)
    site = patients % 3
    truth = inputs @ [1.0, -2.0, 0.5] + inputs[:, 2] * (site == 2) + random.normal(size=2 * N)
    design = np.c_[inputs, inputs[:, 2] * (site == 2)]
    for number, kept in enumerate(([0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2])):
        rows = random.permutation(N)[: N - 50]  # what luck there is between retrains
        weights = np.linalg.lstsq(design[rows][:, kept], truth[rows], rcond=None)[0]
        said = design[N:][:, kept] @ weights
        with backslide.start(
            "house-prices", params={"features": len(kept)}, seed=number
        ) as run:
            run.log_data("train", design[:N][:, kept], truth[:N])
            order = random.permutation(N)
            run.log_predictions(
                "test",
                [f"house {i}" for i in order],
                truth[N:][order],
                said[order],
                losses=np.abs(said - truth[N:])[order],
                slices={"group": patients[N:][order], "site": site[N:][order]},
            )
        print(run.id)


if __name__ == "__main__":
    sys.exit(main())
