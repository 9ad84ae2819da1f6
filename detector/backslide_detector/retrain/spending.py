"""One-sided evidence of a verdict: what the ledger's two streams are fed."""

from dataclasses import dataclass

from backslide_detector.estimand import Estimand
from backslide_detector.stats.mcnemar import exact_pvalue


@dataclass(frozen=True, slots=True)
class OneSided:
    """P-values of one retrain, one a direction; each goes to the stream of its direction.

    Attributes:
        worse: against "not worse than the baseline".
        better: against "not better than the baseline".
    """

    worse: float
    better: float


def one_sided(model: Estimand) -> OneSided | None:
    """P-values of "this model against that model"; None when nothing was tested.

    Paired verdicts give the exact McNemar test, which never rejects more often than it says.
    Unpaired ones give half of the two-sided p-value on the side of the effect.
    """
    if model.fixed is not None and model.broken is not None:
        return OneSided(
            exact_pvalue(model.broken, model.fixed, "greater"),
            exact_pvalue(model.broken, model.fixed, "less"),
        )
    if model.pvalue is None or model.effect is None:
        return None
    near, far = model.pvalue / 2, 1 - model.pvalue / 2
    return OneSided(near, far) if model.effect > 0 else OneSided(far, near)
