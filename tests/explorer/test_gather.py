"""What the page shows of a run: asked of runs that the command has made, against the networks themselves."""

import re
import shlex
import shutil

import numpy as np
import pytest
import torch

import grok_lightning
from grok_lightning.chain.faults import ChainError
from grok_lightning.explorer import PAGE, explore, save_page
from grok_lightning.explorer.planes import planes_of

PLANAR = """\
# A planar network.
model:
  class_path: EquationTask
  init_args:
    network: {class_path: PlanarNetwork, init_args: {mlp_width: 8}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1e-2}}
data:
  class_path: BinaryOperationDataModule
  init_args: {operation: add, modulus: 7, layout: a b, batch_size: null, train_fraction: 0.7, unordered_split: true}
trainer: {max_steps: 6, accelerator: cpu}
"""
SNAPSHOTS = "{class_path: Snapshots, init_args: {parts: [embedding, classifier], every_n_steps: 2}}"


@pytest.fixture
def make(lightning, tmp_path):
    """Runs a recipe, with overrides, and returns the folder of its run."""

    def run(text=PLANAR, *words):
        (tmp_path / "recipe.yaml").write_text(text)
        code, out, err = lightning("fit", "--config", "recipe.yaml", *words)
        assert code == 0, out + err
        [folder] = {path.parent for path in (tmp_path / "logs").rglob("manifest.json")}
        return folder

    return run


def test_frames_are_the_networks_of_the_snapshots(make):
    folder = make(PLANAR, "--trainer.callbacks+", SNAPSHOTS)
    page, run = explore(folder), grok_lightning.load(folder)
    assert list(page.steps) == [0, 2, 4, 6]
    assert page.positions.shape == (4, 1, 7, 2)
    np.testing.assert_array_equal(page.positions[-1, 0], run.network.token_vectors().detach().numpy())
    assert not np.array_equal(page.positions[0], page.positions[-1])
    assert (page.names, page.are_residues, page.is_addition) == (list("0123456"), True, True)
    assert page.series.keys() == run.metrics.keys()
    assert page.results["steps"] == 6
    assert page.notes == []


def test_the_map_is_what_the_network_answers_at_the_sums(make):
    folder = make(PLANAR, "--trainer.callbacks+", SNAPSHOTS)
    page, network = explore(folder), grok_lightning.load(folder).network
    pairs, classes, half = page.pairs, page.class_map.classes[-1], float(page.class_map.half_width[-1])
    assert page.class_map.classes.shape[0] == 4
    places = np.linspace(-half, half, len(classes))
    for row, column in [(0, 0), (0, 71), (71, 0), (20, 50), (64, 3), (36, 36)]:
        point = torch.tensor([[places[column], places[row]]], dtype=torch.float)
        assert classes[row, column] == network.classifier(point).argmax()
    tokens = torch.tensor([pairs.first, pairs.second]).T
    sums = page.positions[-1, 0][tokens].sum(1)
    assert np.abs(sums).max() < half


def test_pairs_say_what_training_does_not_see(make):
    folder = make()
    page, data = explore(folder), grok_lightning.load(folder).data
    seen = {tuple(sorted(row)) for row in data.part("train").tokens.tolist()}
    rows = zip(page.pairs.first, page.pairs.second, page.pairs.label, page.pairs.held_out, strict=True)
    found = list(rows)
    assert len(found) == 28
    for a, b, label, held_out in found:
        assert label == (a + b) % 7
        assert held_out == ((a, b) not in seen)


def test_without_snapshots_there_is_one_frame_and_a_way_to_more(make, lightning, tmp_path):
    page = explore(make())
    assert (list(page.steps), len(page.notes)) == ([6], 1)
    words = shlex.split(re.search(r"--trainer.*", page.notes[0])[0])
    shutil.rmtree(tmp_path / "logs")
    longer = explore(make(PLANAR, *words, "--trainer.max_steps", "150"))
    assert list(longer.steps) == [0, 100, 150]
    assert longer.class_map is not None
    assert longer.notes == []


def test_snapshots_of_the_embedding_alone_give_no_map_of_a_later_classifier(make):
    page = explore(make(PLANAR, "--trainer.callbacks+", SNAPSHOTS.replace("embedding, classifier", "embedding")))
    assert len(page.steps) == 4
    assert page.class_map is None
    assert "lack the classifier" in page.notes[0]


def test_snapshots_without_the_embedding_are_no_frames(make):
    page = explore(make(PLANAR, "--trainer.callbacks+", SNAPSHOTS.replace("embedding, classifier", "classifier")))
    assert list(page.steps) == [6]


def test_longer_sequences_have_no_map(make):
    page = explore(make(PLANAR.replace("layout: a b,", "layout: a op b =,"), "--trainer.callbacks+", SNAPSHOTS))
    assert page.class_map is None
    assert page.names == list("0123456")
    assert page.pairs is not None
    assert "two tokens" in page.notes[0]


def test_a_product_is_shown_in_the_order_of_its_logarithms(make):
    page = explore(make(PLANAR.replace("add", "mul"), "--trainer.callbacks+", SNAPSHOTS))
    *members, zero = map(int, page.names)
    assert zero == 0
    generator = members[1]
    assert members == [pow(generator, k, 7) for k in range(6)]
    assert page.spectrum.shape == (4, 1, 3)
    vectors = page.positions[-1, 0, :6].astype(float)
    powers = (np.abs(np.fft.fft(vectors - vectors.mean(0), axis=0)) ** 2).sum(1)
    expected = [powers[1] + powers[5], powers[2] + powers[4], powers[3]]
    np.testing.assert_allclose(page.spectrum[-1, 0], expected / powers[1:].sum(), rtol=1e-4)
    assert not page.is_addition
    for a, b, label in zip(page.pairs.first, page.pairs.second, page.pairs.label, strict=True):
        assert int(page.names[label]) == int(page.names[a]) * int(page.names[b]) % 7


def test_particles_have_their_systems_and_forces(make, tmp_path):
    text = """\
# Particles.
model:
  class_path: ParticleTask
  init_args:
    network: {class_path: ParticleSystem, init_args: {copies: 3}}
    forces: {alignment: 0.3, range: 0.7, kernel: rational}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1, weight_decay: 0.05}}
data:
  class_path: BinaryOperationDataModule
  init_args: {operation: add, modulus: 7, layout: a b, batch_size: null, train_fraction: 0.7}
trainer: {max_steps: 6, accelerator: cpu, callbacks: [{class_path: StructureProgress}]}
"""
    folder = make(text, "--trainer.callbacks+", SNAPSHOTS.replace("embedding, classifier", "embedding"))
    page, network = explore(folder), grok_lightning.load(folder).network
    assert page.positions.shape == (4, 3, 7, 2)
    np.testing.assert_array_equal(page.positions[-1], network.vectors_by_copy().detach().numpy())
    given = {"alignment": 0.3, "clustering": 1.0, "range": 0.7, "kernel": "rational", "decay": 0.05, "step_size": 0.1}
    assert page.forces == given
    assert page.class_map is None
    assert sum(int(word.split()[1]) for word in page.results["structure"].split(", ")) == 3
    shutil.rmtree(tmp_path / "logs")
    alone = explore(make(text.replace("copies: 3", "copies: 1")))
    assert alone.class_map.classes.shape == (1, 72, 72)


def test_wide_vectors_keep_their_plane_between_frames(make):
    text = PLANAR.replace("PlanarNetwork, init_args: {mlp_width: 8}", "AdditiveNetwork, init_args: {width: 6}")
    page = explore(make(text, "--trainer.callbacks+", SNAPSHOTS))
    assert page.axes[0].startswith("principal plane")
    assert page.class_map is None
    assert page.plane_share.shape == (4, 1)


def test_a_plane_that_turns_is_turned_back():
    last = torch.randn(1, 7, 5, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]
    positions, shares = planes_of([2 * last @ turn, last @ turn, last])
    np.testing.assert_allclose(positions[1], positions[2], atol=1e-5)
    np.testing.assert_allclose(positions[0], 2 * positions[2], atol=1e-5)
    centred = last[0] - last[0].mean(0)
    values = torch.linalg.svdvals(centred) ** 2
    np.testing.assert_allclose(shares[:, 0], float(values[:2].sum() / values.sum()), rtol=1e-5)
    flat = torch.randn(1, 7, 1)
    np.testing.assert_array_equal(planes_of([flat])[0][0, 0], np.pad(flat[0].numpy(), ((0, 0), (0, 1))))


def test_pairs_are_thinned_where_there_are_too_many(make, monkeypatch):
    monkeypatch.setattr("grok_lightning.explorer.gather.LARGEST_PAIRS", 10)
    page = explore(make())
    assert 5 <= len(page.pairs.first) <= 10
    assert page.class_map is not None
    assert "Not every pair sum" in page.notes[-1]


def test_frames_are_thinned_where_there_are_too_many(make, monkeypatch):
    monkeypatch.setattr("grok_lightning.explorer.frames.LARGEST", 3)
    page = explore(make(PLANAR, "--trainer.callbacks+", SNAPSHOTS))
    assert list(page.steps) == [0, 4, 6]
    assert page.notes == ["2 of 3 snapshots are shown."]


def test_other_families_are_shown_by_their_embedding(make):
    text = """\
# A feature machine.
model: {class_path: FeatureMachineTask, init_args: {network: {class_path: FeatureMachine}}}
data:
  class_path: BinaryOperationDataModule
  init_args: {operation: compose(3), modulus: null, layout: a b, batch_size: null, train_fraction: 0.7}
trainer: {max_steps: 2, accelerator: cpu}
"""
    page = explore(make(text))
    assert page.positions.shape == (1, 1, 6, 2)
    assert not page.are_residues
    assert (page.pairs, page.spectrum, page.class_map) == (None, None, None)


# the file


def test_the_command_writes_one_file(make, lightning, tmp_path):
    folder = make()
    assert lightning("explore", folder).out.strip() == str(folder / PAGE)
    assert lightning("explore", folder).code == 0  # an older page is replaced
    assert lightning("explore", folder, "--to", tmp_path / "page.html").code == 0
    html = (tmp_path / "page.html").read_text()
    assert html.startswith("<!doctype html>")
    assert html == (folder / PAGE).read_text()


def test_what_is_no_page_is_kept(make, lightning, tmp_path):
    folder, other = make(), tmp_path / "notes.html"
    other.write_text("mine")
    code, _, err = lightning("explore", folder, "--to", other)
    assert code == 2
    assert "no page of the explorer" in err
    assert other.read_text() == "mine"
    for to, words in ((tmp_path, "is a folder"), (tmp_path / "none/page.html", "cannot be written")):
        assert words in lightning("explore", folder, "--to", to).err


def test_what_cannot_be_explored_is_said(make, tmp_path):
    folder = make(PLANAR, "--trainer.callbacks+", SNAPSHOTS)
    (folder / "metrics.csv").unlink()
    assert explore(folder).series == {}
    (folder / "snapshots/step_00000002.safetensors").write_bytes(b"torn")
    with pytest.raises(ChainError, match=r"step_00000002.*cannot be read"):
        explore(folder)
    with pytest.raises(ChainError, match="no run"):
        save_page(tmp_path)
