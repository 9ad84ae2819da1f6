"""Two runs of a lineage with everything a report can show, made up but plausible."""

from dataclasses import replace

import numpy as np

from backslide.contract import (
    EXPONENT_MIN,
    HISTOGRAM_BINS,
    MAGNITUDE_BINS,
    ZERO_BIN,
    Cause,
    Health,
    Verdict,
)
from backslide_detector.estimand import Estimand
from backslide_detector.evidence import (
    ErrorRate,
    LayerHistory,
    Predictions,
    RunEvidence,
    Series,
)
from backslide_detector.finding import Clear, Crashed, Found, Result, Severity, Skipped
from backslide_detector.judgement import Change, Judgement, RetrainVerdict
from backslide_detector.lineage import Course, Creeping, Dated, Expectation, Retrain, Stream
from backslide_detector.report.links import Links

LINKS = Links(
    run="http://127.0.0.1:5000/#/experiments/1/runs/new?a=b&c=d",
    baseline="http://127.0.0.1:5000/#/experiments/1/runs/old",
    view="http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=backslide",
    report="http://127.0.0.1:5000/#/experiments/1/runs/new/artifacts/backslide/report.html",
)


def history(
    layers: int = 4, snapshots: int = 40, *, suffix: str = "", seed: int = 0
) -> LayerHistory:
    """Log-normal magnitudes that drift; the deeper, the larger; a gap and a NaN inside."""
    rng = np.random.default_rng(seed)
    bins = EXPONENT_MIN + np.arange(MAGNITUDE_BINS) + 0.5
    drift = np.cumsum(rng.normal(0, 0.2, (snapshots, layers)), axis=0)
    middle = drift - 12 + np.linspace(0, 6, layers)
    density = np.exp(-0.5 * ((bins - middle[..., None]) / 1.8) ** 2)
    counts = rng.poisson(4000 * density / density.sum(-1, keepdims=True))
    histogram = np.zeros((snapshots, layers, HISTOGRAM_BINS), np.int32)
    histogram[..., ZERO_BIN + 1 :] = counts
    histogram[..., :ZERO_BIN] = counts[..., ::-1]
    histogram[..., ZERO_BIN] = rng.integers(0, 3000, (snapshots, layers))
    histogram[snapshots // 2, 0] = 0
    unknown = np.full((snapshots, layers), np.nan)
    dead = rng.random((snapshots, layers))
    dead[0, 0] = np.nan
    nonfinite = np.zeros((snapshots, layers))
    nonfinite[-1, -1] = 0.25
    return LayerHistory(
        layers=tuple(f"blocks.{i}.conv{suffix}" for i in range(layers)),
        kinds=("Conv2d",) * layers,
        depth=np.arange(layers),
        count=np.full(layers, 8000),
        steps=np.arange(snapshots) * 10,
        mean=unknown,
        std=unknown,
        rms=2.0**middle,
        abs_max=unknown,
        zero_fraction=histogram[..., ZERO_BIN] / np.maximum(histogram.sum(-1), 1),
        nonfinite_fraction=nonfinite,
        saturated_fraction=unknown,
        dead_fraction=dead,
        histogram=histogram,
    )


def run(name: str, *, seed: int, layers: int = 4, snapshots: int = 40) -> RunEvidence:
    """One run with curves, layers and predictions of ten classes."""
    rng = np.random.default_rng(seed)
    steps = np.arange(400)
    loss = 2.3 * np.exp(-steps / 60) * rng.lognormal(0, 0.2, 400) + 1e-4
    loss[390 + seed :] = np.nan
    epochs = np.arange(10) * 40
    target = np.arange(500) % 10
    wrong = rng.random(500) < 0.04 + 0.2 * seed * (target == 8)
    predicted = np.where(wrong, (target + 1) % 10, target)
    return RunEvidence(
        run_id=name,
        name=name,
        experiment_id="1",
        status="FINISHED",
        started=0.0,
        ended=60.0,
        lineage="digits-cnn",
        series={
            "loss": Series(steps, loss, steps.astype(float)),
            "val_loss": Series(epochs, np.linspace(2, 0.2, 10), epochs.astype(float)),
            "val/error": Series(epochs, np.linspace(0.4, 0.03, 10), epochs.astype(float)),
        },
        activations=history(layers, snapshots, seed=seed),
        gradients=history(layers, snapshots, suffix=".weight", seed=seed + 10),
        predictions={
            "test": Predictions(
                ids=np.array([f"id-{i}" for i in range(500)], object),
                targets=target.astype(str).astype(object),
                predictions=predicted.astype(str).astype(object),
                correct=~wrong,
            )
        },
        error=ErrorRate("test", float(wrong.mean()), 500, "predictions/test"),
    )


OLD = run("digits-1", seed=0)
NEW = run("digits-2", seed=1)

FOUND = Found(
    severity=Severity.FAILING,
    sentence="91 % of the units of blocks.1.conv are zero on every example since step 120.",
    advice="Lower the learning rate or warm it up.",
    layer="blocks.1.conv",
    since_step=120,
    numbers={"dead_share": 0.91, "loss": float("nan"), "ratio": 1e-7},
    stop=True,
)

SENTENCE = "Test error rose from 3.0 % to 5.9 % (+2.9 points, 95 % interval +1.4 to +4.4)."

JUDGEMENT = Judgement(
    run_id="digits-2",
    run_name="digits-2",
    lineage="digits-cnn",
    retrain=RetrainVerdict(
        verdict=Verdict.REGRESSED,
        sentence=SENTENCE,
        compared_to="digits-1",
        compared_name="digits-1",
        split="test",
        old_error=0.03,
        new_error=0.059,
        model=Estimand(0.029, (0.014, 0.044), 2e-4, 500, "McNemar mid-p", None, 4, 18),
        recipe=Estimand(reason="One retrain of each recipe; two more of each would settle it."),
        mde=0.017,
        margin=0.005,
        cause=(Cause.DATA, Cause.NOISE),
        changed=(
            Change(Cause.DATA, "train: digest", "5f1c9a0e", "91ab03cc"),
            Change(Cause.CONFIG, "epochs", "8", None),
        ),
        advice="Look at the labels of class 8.",
    ),
    health=Health.FAILING,
    results=(
        Result("dead-units", FOUND),
        Result("overfitting", Clear("Validation loss rose 12 %, the error did not.")),
        Result("vanishing-gradient", Clear()),
        Result("saturated-activation", Skipped("No bounded activation.")),
        Result("exploding-gradient", Crashed("ZeroDivisionError: by zero", "Traceback ...")),
    ),
    summary="Test error rose from 3.0 % to 5.9 %.",
    problems=("backslide/layers/part-00003.parquet is truncated.",),
    settings={"margin": 0.005},
)

BARE_RUN = RunEvidence(
    run_id="bare",
    name="",
    experiment_id="1",
    status="FAILED",
    started=0.0,
    ended=None,
    lineage=None,
)
BARE = Judgement(
    run_id="bare",
    run_name="",
    lineage=None,
    retrain=RetrainVerdict(Verdict.NONE, "The run logged no error to compare."),
    health=Health.UNKNOWN,
    results=(),
    summary="",
)


def said_by(text: str) -> tuple[Judgement, RunEvidence, RunEvidence]:
    """The same story with `text` in every place that somebody else writes."""
    retrain = replace(
        JUDGEMENT.retrain,
        sentence=text,
        compared_to=text,
        compared_name=text,
        split="test",
        model=replace(JUDGEMENT.retrain.model, method=text, reason=text),
        recipe=Estimand(reason=text),
        changed=(Change(Cause.CODE, text, text, text),),
        advice=text,
    )
    found = replace(FOUND, sentence=text, advice=text, layer=text, numbers={text: 1.0})
    judgement = replace(
        JUDGEMENT,
        run_id=text,
        run_name=text,
        lineage=text,
        retrain=retrain,
        results=(
            Result(text, found),
            Result(text, Clear(text)),
            Result(text, Skipped(text)),
            Result(text, Crashed(text, text)),
        ),
        summary=text,
        problems=(text,),
        settings={text: 1.0},
    )
    return judgement, _renamed(NEW, text), _renamed(OLD, text)


def _renamed(evidence: RunEvidence, text: str) -> RunEvidence:
    predictions = evidence.predictions["test"]
    labels = np.array([text] * 250 + ["other"] * 250, object)
    return replace(
        evidence,
        name=text,
        lineage=text,
        activations=_named(evidence.activations, text),
        gradients=_named(evidence.gradients, text),
        predictions={
            "test": replace(predictions, targets=labels, predictions=labels[::-1].copy())
        },
        problems=(text,),
    )


def _named(layers: LayerHistory | None, text: str) -> LayerHistory | None:
    assert layers is not None
    names = (text, *layers.layers[1:])
    return replace(layers, layers=names, kinds=(text,) * len(names))


def a_course(retrains: int = 24, *, signal: bool = True) -> Stream:
    """A lineage that crept up from its fifteenth retrain on, as the detector carries it."""
    rng = np.random.default_rng(1)
    errors = 0.03 + rng.normal(0, 0.0008, retrains)
    errors[14:] += 0.0007 * np.arange(1, len(errors[14:]) + 1)
    points = tuple(
        Retrain(
            f"r{n}",
            f"run-{n}",
            1_700_000_000.0 + 3_600 * n,
            float(error),
            (float(error) - 0.003, float(error) + 0.003),
            verdict=Verdict.REGRESSED if n == 9 else Verdict.EQUIVALENT,
            accepted=n != 9,
            signal="worse" if signal and n == 20 else None,
            creep=None if n < 2 else float(min(1.4**n, 1e7)),
        )
        for n, error in enumerate(errors)
    )
    course = Course(
        points,
        baseline=f"r{retrains - 2}",
        reference="r0",
        anchor="r0",
        expected=Expectation((0.0301, 0.0352), 0.0012, "12 accepted retrains"),
        next=Expectation((0.0312, 0.0366), 0.0012, "13 accepted retrains"),
        changes=(Dated("r16", "run-16", "creep", 0.004),) if signal else (),
        elsewhere=2,
    )
    creep = Creeping("run-0", retrains, 900.0, 500.0, alarm="run-20", since="run-16")
    return Stream(creep=creep, course=course)
