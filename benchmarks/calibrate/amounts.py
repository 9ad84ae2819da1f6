"""What doubling the data would bring, by the learning curve of a lineage."""

import numpy as np
from benchmarks.calibrate.rates import rate

from backslide_detector.stats.learning_curve import learning_curve

TIMES = 200
EXAMPLES, LUCK = 10_000, 0.001  # test examples; spread of retrains of one recipe


def doubled():
    """Power laws, and no law at all, on a common test set, from few and from many retrains."""
    name = "What twice the data would bring, test set of 10,000, retrain noise 0.1 points"
    random = np.random.default_rng(710)
    amounts = {
        "two amounts": [1_000, 2_000],
        "four amounts": [500, 1_000, 2_000, 4_000],
        "four amounts, three times each": [500, 1_000, 2_000, 4_000] * 3,
        "growing by a tenth ten times": [int(1_000 * 1.1**i) for i in range(10)],
    }
    for said, sizes in amounts.items():
        size = np.array(sizes, float)
        for factor, exponent in ((0.5, 0.1), (0.5, 0.35), (5.0, 0.75), (0.0, 0.35)):
            rates = 0.02 + factor * size**-exponent
            gain = factor * size.max() ** -exponent * (1 - 2**-exponent)
            held = shown = 0
            for _ in range(TIMES):
                common = random.normal(0, np.sqrt(rates.mean() * (1 - rates.mean()) / EXAMPLES))
                errors = rates + common + random.normal(0, LUCK, len(size))
                found = learning_curve(
                    size, errors, rates * (1 - rates) / EXAMPLES, at=size.max()
                )
                held += found.interval[0] <= gain <= found.interval[1]
                shown += found.interval[0] > 0.0
            law = (
                f"exponent {exponent:g}, gain {100 * gain:.2f} points" if factor else "no gain"
            )
            yield rate(name, f"{said}, {law}", "coverage", held, TIMES, at_least=0.95)
            yield rate(name, f"{said}, {law}", "help shown", shown, TIMES)
