"""What layers do on a fixed batch, without a trace in the training."""

import io
import json
import logging

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.sdk.graph.networks import Experts
from tests.sdk.probe import networks
from tests.sdk.ship.tools import random_states
from torch import nn

import backslide
from backslide.contract import PROBE_BYTES, PROBE_SCHEMAS, Artifact, Probe
from backslide.measure.probe.probe import probe
from backslide.measure.probe.signatures import signatures
from backslide.spool.frames import Kind
from backslide.spool.segments import read, segment_path, segments


def layers(found):
    return found.tables["layers"].column("layer").to_pylist()


def problems(found):
    return found.facts[Probe.PROBLEMS]


def remainders(found, layer):
    table = found.tables["remainders"].to_pandas()
    rows = table[table.layer == layer]
    return np.stack(rows["values"]).T * rows.scale.to_numpy() if len(rows) else np.zeros((1, 0))


def codes(found, layer):
    table = found.tables["codes"].to_pandas()
    scale = dict(zip(*found.tables["layers"].select(["layer", "code_scale"]), strict=True))
    scale = {name.as_py(): value.as_py() for name, value in scale.items()}
    return np.stack(table[table.layer == layer].code).astype(float) * scale[layer]


def gram_norm(found, layer):
    table = found.tables["layers"].to_pandas().set_index("layer")
    return table.gram_norm[layer]


def outputs(model, inputs, name):
    """What a hook of the user's own would see."""
    kept = []
    hook = model.get_submodule(name).register_forward_hook(
        lambda _module, _args, out: kept.append(out.detach().clone().flatten(1).double())
    )
    with torch.no_grad():
        model.eval()(inputs)
    hook.remove()
    return kept[0].numpy()


def cka(a, b):
    """Linear centred kernel alignment (Kornblith et al. 2019, equation 4)."""
    a, b = a - a.mean(0), b - b.mean(0)
    return np.linalg.norm(a.T @ b) ** 2 / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)


@pytest.fixture(scope="module")
def pair():
    """Two networks of one recipe, trained from other seeds, and their probes."""
    inputs, targets = networks.images(160)
    models = [networks.trained(networks.convolutions(seed), inputs, targets) for seed in (0, 1)]
    return inputs, models, [probe(model, inputs, targets) for model in models]


def test_codes_stand_for_activations(pair):
    inputs, models, found = pair
    assert layers(found[0]) == ["2", "5", "9", "10"]
    for name in layers(found[0]):
        full = cka(*(outputs(model, inputs, name) for model in models))
        a, b = (codes(each, name) for each in found)
        short = np.linalg.norm(a.T @ b) ** 2
        short /= gram_norm(found[0], name) * gram_norm(found[1], name)
        assert short == pytest.approx(full, abs=0.002)


def test_of_what_codes_leave_out_random_sums_are_kept():
    """Two layers on noise, of which half lies beyond 32 directions."""
    torch.manual_seed(0)
    inputs = torch.randn(300, 100) / torch.arange(1, 101).sqrt()
    models = [nn.Sequential(nn.Linear(100, width), nn.ReLU()) for width in (400, 90)]
    full = [outputs(model, inputs, "1") for model in models]
    found = [probe(model, inputs) for model in models]
    short = [codes(each, "1") for each in found]
    whole = [np.hstack([codes(each, "1"), remainders(each, "1")]) for each in found]
    assert {each.shape[1] for each in whole} == {48}
    norms = np.prod([gram_norm(each, "1") for each in found])
    missed, left = (
        cka(*full) - np.linalg.norm(one.T @ other) ** 2 / norms for one, other in (short, whole)
    )
    assert missed > 0.01
    assert abs(left) < 0.004
    assert remainders(probe(nn.Sequential(nn.Linear(100, 20)), inputs), "0").size == 0


def test_spectrum_norm_and_trace_are_those_of_the_whole_gram_matrix(pair):
    inputs, models, found = pair
    table = found[0].tables["layers"].to_pandas().set_index("layer")
    for name in table.index:
        features = outputs(models[0], inputs, name)
        features -= features.mean(0)
        gram = features @ features.T
        assert table.gram_norm[name] == pytest.approx(np.linalg.norm(gram), rel=1e-4)
        assert table.gram_trace[name] == pytest.approx(np.trace(gram), rel=1e-4)
        largest = np.linalg.eigvalsh(gram)[::-1][:64]
        assert table.spectrum[name] == pytest.approx(largest, rel=1e-3, abs=1e-4 * largest[0])


def test_signatures_know_channels_again(pair):
    _, models, found = pair
    table = found[0].tables["units"].to_pandas()
    conv = table[table.layer == "2"]
    assert conv.unit.tolist() == list(range(8))
    assert {len(each) for each in conv.signature} == {64}
    swapped = networks.convolutions()
    swapped.load_state_dict(models[0].state_dict())
    order = torch.tensor([1, 0, *range(2, 8)])
    with torch.no_grad():
        for module in (swapped[0], swapped[1]):
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.ndim:
                    tensor.copy_(tensor[order].clone())
    again = probe(swapped, pair[0]).tables["units"].to_pandas()
    signature = np.stack(again[again.layer == "2"].signature)
    assert (signature == np.stack(conv.signature)[order.numpy()]).all()


def test_what_can_be_read_from_layers(pair):
    inputs, models, _ = pair
    targets = networks.images(160)[1]
    generator = np.random.default_rng(0)
    concepts = {"bright": inputs.mean((1, 2, 3)) > 0.25, "dice": generator.normal(size=160)}
    found = probe(models[0], inputs, targets, concepts, step=7)
    table = found.tables["readability"].to_pandas()
    assert set(table.step) == {7}
    assert found.facts[Probe.CLASSES] == ["0", "1", "2", "3"]
    last = table[table.layer == "10"].set_index("concept")
    assert last.accuracy[""] > 0.95
    assert last.r2[["0", "1", "2", "3"]].min() > 0.8
    assert last.r2["dice"] < 0.05
    assert table[table.concept == "dice"].r2.max() < 0.1
    asked = found.tables["concepts"].to_pandas().set_index("concept")
    assert asked.kind.to_dict() == dict.fromkeys("0123", "label") | dict.fromkeys(
        concepts, "given"
    )
    assert found.facts[Probe.ACCURACY] == 1.0


def test_nothing_in_the_training_changes():
    inputs, targets = networks.images()
    model = networks.convolutions().train()
    model[1].eval()  # frozen by its owner
    model(inputs).sum().backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [each.grad.clone() for each in model.parameters()]
    states, modes = random_states(), [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    versions = [each._version for each in model.parameters()]
    probe(model, inputs, targets)
    assert random_states() == states
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert [each._version for each in model.parameters()] == versions
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_residual_blocks_stand_for_themselves():
    inputs, targets = networks.images()
    found = probe(networks.Residual(), inputs, targets)
    table = found.tables["layers"].to_pandas()
    assert table.layer.tolist() == [
        "stem",
        "blocks.0.relu",
        "blocks.0",
        "blocks.1.relu",
        "blocks.1",
        "pool",
        "head",
    ]
    assert table.weights.tolist()[1] == "blocks.0.conv1"
    assert table.units.tolist() == [8] * 6 + [4]
    assert table.positions.tolist() == [64] * 5 + [1, 1]


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_stream_of_a_transformer_is_read_and_not_its_branches(batch_first):
    tokens = torch.randint(30, (40, 9), generator=torch.Generator().manual_seed(0))
    found = probe(networks.Transformer(batch_first), tokens, torch.arange(40) % 4)
    table = found.tables["layers"].to_pandas()
    blocks = [f"encoder.layers.{number}" for number in range(3)]
    assert table.layer.tolist() == ["embed", *blocks, "norm", "head"]
    assert table.units.tolist() == [16] * 5 + [4]
    assert table.positions.tolist() == [9] * 5 + [1]
    units = found.tables["units"].to_pandas()
    inside = [f"{blocks[0]}.{name}" for name in ("self_attn", "linear1", "linear2")]
    assert list(dict.fromkeys(units.layer))[:5] == ["embed", *inside, blocks[0]]
    assert {len(each) for each in units[units.layer.isin(inside)].signature} == {64}


def test_channels_inside_of_blocks_are_those_of_their_modules():
    tokens = torch.randint(30, (70, 9), generator=torch.Generator().manual_seed(0))
    model, name = networks.Transformer(True), "encoder.layers.1.linear1"
    units = probe(model, tokens).tables["units"].to_pandas()
    rows = units[units.layer == name]
    seen = outputs(model, tokens, name).reshape(70, 9, -1).astype(np.float32)
    expected = signatures(seen)
    assert (np.stack(rows.signature) == expected.values).all()
    assert rows.live.tolist() == expected.live.tolist()


def test_recurrent_networks_tuples_and_values():
    inputs = torch.randn(20, 6, 5, generator=torch.Generator().manual_seed(0))
    found = probe(networks.Recurrent(), (inputs, torch.full((20,), 6)), torch.rand(20))
    table = found.tables["layers"].to_pandas()
    assert table.layer.tolist() == ["lstm", "head"]
    assert table.units.tolist() == [14, 1]
    assert found.tables["concepts"].column("kind").to_pylist() == ["value"]
    assert found.facts[Probe.CLASSES] == []


def test_each_call_of_a_shared_module_is_a_layer():
    found = probe(networks.Shared(), {"x": torch.randn(12, 6)})
    assert layers(found) == ["enter", "again", "again#2", "again#3", "out"]
    assert found.tables["readability"].num_rows == 0


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 2)), (3, 12)),
        (
            nn.Sequential(nn.Conv3d(2, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)),
            (2, 4, 4, 4),
        ),
        (nn.Linear(3, 2), (3,)),
    ],
)
def test_other_shapes(model, shape):
    found = probe(model, torch.randn(16, *shape), torch.arange(16) % 2)
    table = found.tables["layers"].to_pandas()
    assert table.units.tolist()[-1] == 2
    if len(shape) > 1:
        assert table.units[0] == 8
        assert table.positions[0] > 1
    assert found.facts[Probe.PROBLEMS] == []


def test_a_broken_layer_is_left_out_and_named():
    model = networks.convolutions()
    with torch.no_grad():
        model[4].weight[0] = torch.nan
    found = probe(model, *networks.images())
    assert layers(found) == ["2"]
    assert any(
        "5 is left out: not finite on 96 of 96" in p for p in found.facts[Probe.PROBLEMS]
    )


def test_experts_that_get_some_of_the_examples_are_named():
    model = Experts()
    with torch.no_grad():
        model.router.weight.copy_(torch.eye(4))
        model.router.bias.zero_()
    found = probe(model, torch.eye(4).repeat(4, 1))
    assert layers(found) == ["router", "head"]
    assert any("do not answer for each example: experts.0" in p for p in problems(found))


def test_collapsed_and_faded_layers_have_codes():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight.mul_(1e-12)
        model[0].bias.zero_()
        model[2].weight.zero_()
    table = probe(model, torch.randn(16, 4)).tables["layers"].to_pandas().set_index("layer")
    assert table.gram_norm["1"] > 0
    assert table.gram_norm["2"] == 0


def test_at_most_24_layers_evenly_spread_and_bounded_in_size():
    parts = [part for _ in range(30) for part in (nn.Linear(600, 600), nn.ReLU())]
    found = probe(nn.Sequential(*parts, nn.Linear(600, 3)), torch.randn(64, 600))
    depths = found.tables["layers"].column("depth").to_pylist()
    assert len(depths) == 24
    assert (depths[0], depths[-1]) == (0, 30)
    assert set(np.diff(depths)) <= {1, 2}
    assert any("24 are looked at" in each for each in found.facts[Probe.PROBLEMS])
    assert any("signatures" in each for each in found.facts[Probe.PROBLEMS])


def test_another_batch_has_another_digest():
    model, (inputs, targets) = networks.convolutions(), networks.images()
    digests = {
        probe(model, *given).facts[Probe.DIGEST]
        for given in [(inputs, targets), (inputs + 1e-3, targets), (inputs, 3 - targets)]
    }
    assert len(digests) == 3
    assert probe(networks.convolutions(1), inputs, targets).facts[Probe.DIGEST] in digests


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((torch.randn(4, 1, 8, 8),), "4 examples are too few"),
        ((torch.randn(16, 1, 8, 8), torch.arange(15)), "16 examples, but 15 targets"),
        (("text",), "no tensor among the inputs"),
    ],
)
def test_what_cannot_be_probed_is_said(given, said):
    with pytest.raises(ValueError, match=said):
        probe(networks.convolutions(), *given)


def test_compiled_and_data_parallel_models_are_probed_as_they_are_written():
    inputs, targets = networks.images()
    model = networks.convolutions()
    plain = probe(model, inputs, targets)
    compiled = probe(torch.compile(model, backend="eager"), inputs, targets)
    assert layers(compiled) == layers(plain)
    assert compiled.tables["codes"].equals(plain.tables["codes"])


def test_inside_autocast_and_inference_mode_nothing_is_different():
    inputs, targets = networks.images()
    model = networks.convolutions()
    plain = probe(model, inputs, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        inside = probe(model, inputs, targets)
    assert inside.tables["codes"].equals(plain.tables["codes"])


def thumbnails(inputs, model=None):
    found = probe(model or nn.Flatten(), inputs, with_thumbnails=True)
    return found.tables["examples"]["thumbnail"].to_pylist(), found.facts[Probe.PROBLEMS]


@pytest.mark.parametrize("shape", [(1, 8, 12), (3, 8, 12), (8, 12, 3), (8, 12), (3, 64, 96)])
def test_thumbnails_are_pictures_of_the_examples(shape):
    inputs = torch.zeros(16, *shape)
    inputs[4:] = 1.0
    pictures, problems = thumbnails(inputs)
    images = [Image.open(io.BytesIO(each)) for each in pictures]
    assert {each.size for each in images} == {(12, 8) if 64 not in shape else (32, 21)}
    assert {each.mode for each in images} == {"RGB" if 3 in shape else "L"}
    levels = [np.asarray(each).mean() for each in images]
    assert levels == [0.0] * 4 + [255.0] * 12
    assert not any("thumbnails" in each for each in problems)


def test_thumbnails_only_when_asked_for_and_of_images():
    inputs, _ = networks.images()
    found = probe(networks.convolutions(), inputs)
    assert found.tables["examples"]["thumbnail"].null_count == len(inputs)
    pictures, problems = thumbnails(torch.randn(16, 5), nn.Linear(5, 2))
    assert pictures == [None] * 16
    assert any("no thumbnails" in each for each in problems)


def test_thumbnails_of_noise_are_made_small_enough():
    pictures, _ = thumbnails(torch.rand(512, 3, 32, 32))
    assert 0 < sum(map(len, pictures)) < 500_000


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKSLIDE_OFFLINE", "1")
    monkeypatch.setenv("BACKSLIDE_SPOOL_DIR", str(tmp_path))
    return tmp_path


def attached(root):
    """Files by path below the run's artifacts; of several for one path the last."""
    (folder,) = [path.parent for path in root.glob("*/job.json")]
    found = {}
    for number in segments(folder):
        for record in read(segment_path(folder, number), 0, closed=True).records:
            if record.kind == Kind.ARTIFACT:
                entry = json.loads(record.payload)
                found[entry["path"]] = folder / entry["file"]
    return found


def test_the_last_probe_is_kept_and_the_course_of_what_could_be_read(offline):
    inputs, targets = networks.images()
    model = networks.convolutions()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with backslide.start("lineage", model=model, optimizer=optimizer) as run:
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            run.step()
            run.probe(inputs, targets)
    files = attached(offline)
    probed = {
        path.rpartition("/")[2]: file for path, file in files.items() if Artifact.PROBE in path
    }
    assert set(probed) == {"probe.json", *(f"{name}.parquet" for name in PROBE_SCHEMAS)}
    assert sum(file.stat().st_size for file in probed.values()) < PROBE_BYTES
    for name, schema in PROBE_SCHEMAS.items():
        assert pq.read_table(probed[f"{name}.parquet"]).schema == schema
    facts = json.loads(probed["probe.json"].read_text())
    assert facts[Probe.STEP] == 2
    assert set(pq.read_table(probed["readability.parquet"]).column("step").to_pylist()) == {
        1,
        2,
    }
    assert run.faults.counts == {}


def test_a_probe_is_no_batch_of_a_step(offline):
    inputs, targets = networks.images()
    model = networks.convolutions()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = {}
    for name in ("with", "without"):
        with backslide.start(name, model=model, optimizer=optimizer, overhead=None) as run:
            watch = run._watch
            if name == "with":
                run.probe(inputs[:32], targets[:32])
            model(inputs)
            run.step()
            seen[name] = [snapshot.batch.examples for snapshot in watch.close()]
    assert seen["with"] == seen["without"]


def test_a_probe_never_breaks_the_training(offline, caplog):
    with (
        backslide.start("lineage", model=networks.convolutions()) as run,
        caplog.at_level(logging.WARNING),
    ):
        run.probe(torch.randn(16, 3))
    assert "probe() failed and was left out" in caplog.text
