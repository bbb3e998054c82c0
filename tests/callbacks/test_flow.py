"""Attention between roles and similarities by answer over training: logged, in the results, drawn."""

import copy
import math
from functools import partial
from itertools import combinations

import matplotlib.image
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch.optim import AdamW

from grok_lightning import composite
from grok_lightning.callbacks import Evaluation, FlowProgress, flow_pictures
from grok_lightning.data import BinaryOperationDataModule, CompositeFunctionDataModule, LinearInContextDataModule
from grok_lightning.networks import AdditiveNetwork, ArithmeticTransformer, attention_maps
from grok_lightning.tasks import EquationTask

COMPOSITE = partial(CompositeFunctionDataModule, keys=(20, 40), length=5, size=640, batch_size=32)
SINGLE = partial(COMPOSITE, anchors=1, size=1000)
ADDITION = partial(BinaryOperationDataModule, "add", 5, batch_size=8)
ROLES = ("noise", "key", "first_anchor", "second_anchor", "last")
DRAWINGS = ("attention_lines", "role_flow", "pair_table", "target_map", "similarity_map")


def make_task(**options):
    torch.manual_seed(0)
    network = partial(ArithmeticTransformer, **{"width": 8, "heads": 2, "blocks": 2} | options)
    return EquationTask(network, partial(AdamW, lr=1e-2))


def measured(network, data, parts):
    """What is to be logged for all rows of some parts, sequence by sequence and pair by pair."""
    tokens, answers = (torch.cat([getattr(data.parts[part], name) for part in parts]) for name in ("tokens", "answers"))
    names = list(data.vocabulary)
    rows = [[names[token] for token in row] for row in tokens.tolist()]
    is_composite = isinstance(data, CompositeFunctionDataModule)
    roles = [read_roles(words) if is_composite else ["a", "op", "b", "last"] for words in rows]
    found = {}
    for block, maps in enumerate(attention_maps(network, tokens)):
        seen = {}
        for shares, its in zip(maps.double().mean(1).numpy(), roles, strict=True):
            for row, looks in zip(shares, [*its[:-1], "last"], strict=True):
                for role in set().union(*roles):
                    amount = sum(share for share, other in zip(row, its, strict=True) if other == role)
                    seen.setdefault((looks, role), []).append(amount)
        found |= {(block, *pair): np.mean(shares) for pair, shares in seen.items()}
    groups = [tuple(sorted(word for word in words if word[0] == "f")) or place for place, words in enumerate(rows)]
    return found, [alike(vectors, answers.tolist(), groups) for vectors in last_streams(network, tokens)]


def read_roles(words):
    first = next(place for place, word in enumerate(words) if word[0] == "f")
    count = sum(word[0] == "f" for word in words)
    roles = ["noise"] * (len(words) - 1) + ["last"]
    names = ["anchor"] if count == 1 else ["first_anchor", "second_anchor"]
    roles[first - 1 : first + count] = ["key", *names]
    return roles


def last_streams(network, tokens):
    """The stream at the last place after the attention of each block."""
    stream = network.decoder.begin(network.embedding(tokens))
    for block in network.decoder.blocks:
        attended = block.attention(stream)
        yield attended[:, -1].double().numpy()
        stream = block.mlp(attended)


def alike(vectors, answers, groups):
    found = {"same_answer": [], "other_answer": []}
    for one, other in combinations(range(len(vectors)), 2):
        if groups[one] != groups[other]:
            lengths = np.linalg.norm(vectors[one]) * np.linalg.norm(vectors[other])
            name = "same_answer" if answers[one] == answers[other] else "other_answer"
            found[name].append(vectors[one] @ vectors[other] / lengths)
    return {name: np.mean(cosines) for name, cosines in found.items()}


class Watched(Callback):
    """Measures the network at the last evaluation."""

    def __init__(self, *parts):
        self.parts = parts

    def on_validation_end(self, trainer, pl_module):
        assert not pl_module.network.training
        if trainer.global_step == trainer.max_steps:
            with torch.no_grad():
                self.flow, self.alike = measured(pl_module.network, trainer.datamodule, self.parts)


@pytest.fixture(autouse=True)
def drawn(request, monkeypatch):
    """What is given to the pictures, which are left out where they are not asked for."""
    given = {name: [] for name in DRAWINGS}

    def keep(name, *arguments):
        given[name].append(arguments)
        return Blank()

    if "draws" not in request.fixturenames:
        for name in DRAWINGS:
            monkeypatch.setattr(flow_pictures, name, partial(keep, name))
    return given


class Blank:
    def savefig(self, *arguments, **options):
        pass


@pytest.fixture
def draws():
    """Let the callback draw."""


# what is logged


@pytest.mark.parametrize(
    ("make", "parts", "flows"),
    [
        (
            COMPOSITE,
            ("val",),
            [("last", role) for role in ROLES[1:4]] + [(ROLES[2], "key"), (ROLES[3], "key"), (ROLES[3], ROLES[2])],
        ),
        (SINGLE, ("val",), [("last", "key"), ("last", "anchor"), ("anchor", "key")]),
        (ADDITION, ("val",), [("last", role) for role in ("a", "op", "b", "last")]),
    ],
)
def test_attention_and_similarities_are_logged(train, kept, make, parts, flows):
    progress, watched = FlowProgress(rows=10_000), Watched(*parts)
    train([Evaluation(5), progress, watched], 10, task=make_task(dropout=0.3), data=make, logger=kept)
    assert list(kept.rows) == [0, 5, 10]
    row = {name: value for name, value in kept.rows[10].items() if name.startswith(("flow/", "alike/"))}
    expected = {
        f"flow/block_{block}/{looks}_to_{role}": watched.flow[block, looks, role]
        for block in (0, 1)
        for looks, role in flows
    }
    for block, its in enumerate(watched.alike):
        expected |= {f"alike/block_{block}/{name}": value for name, value in its.items()}
    assert row == pytest.approx(expected, rel=1e-4)
    assert progress.results() == pytest.approx(
        {f"{name}_similarity": value for name, value in watched.alike[-1].items()}, rel=1e-4
    )


def test_some_sequences_are_chosen_once_and_for_all(train, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "grok_lightning.callbacks.flow.attention_maps",
        lambda network, tokens: seen.append(tokens) or attention_maps(network, tokens),
    )
    data = train([Evaluation(5), FlowProgress(rows=12)], 5, task=make_task(), data=COMPOSITE).datamodule
    first, second = seen
    assert torch.equal(first, second)
    rows = [tuple(row) for row in data.parts["val"].tokens.tolist()]
    assert len(first) == 12
    assert set(map(tuple, first.tolist())) <= set(rows)
    other = FlowProgress(rows=12)._choose(data)
    assert torch.equal(other.tokens, first)


def test_pairs_are_measured_apart_where_the_data_say_so(train, kept):
    task = make_task()
    data = train([Evaluation(5)], 5, task=task, data=partial(COMPOSITE, by_pair=True), logger=kept).datamodule
    tokens, answers = data.parts["val"]
    with torch.no_grad():
        right = (task.network.eval()(tokens).argmax(-1) == answers).numpy()
    pairs = data.pairs_of(tokens).numpy()
    for pair in data.seen:
        expected = right[(pairs == pair).all(1)].mean()
        assert kept.rows[5][f"val/accuracy_f{pair[0]}_f{pair[1]}"] == pytest.approx(expected)
    assert sum(name.startswith("val/accuracy_") for name in kept.rows[5]) == 15


# that a run does not depend on it


def test_a_run_is_the_same_without_it(train, kept):
    states = []
    for callbacks in ([], [FlowProgress()]):
        task = make_task(dropout=0.5)
        train([Evaluation(5), *callbacks], 15, task=task, data=COMPOSITE)
        states.append(copy.deepcopy(task.network.state_dict()))
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_resumed_run_is_the_uninterrupted_one(train, tmp_path, kept, interrupt, drawn):
    def fit(callback, *others, **options):
        train([Evaluation(4), callback, *others], 12, task=make_task(), data=COMPOSITE, **options)

    whole, again, path = FlowProgress(), FlowProgress(), tmp_path / "run.ckpt"
    fit(whole, logger=kept)
    (given,) = drawn["role_flow"]
    with pytest.raises(InterruptedError):
        fit(FlowProgress(), interrupt(8, path))
    rest = type(kept)()
    fit(again, logger=rest, resume=path)
    assert rest.rows[12] == pytest.approx(kept.rows[12])
    assert again.results() == whole.results() != {}
    assert torch.equal(again.flow, whole.flow)
    assert torch.equal(drawn["role_flow"][-1][0], given[0])


def test_a_run_that_was_cut_short_at_its_end_still_draws_and_has_its_results(train, tmp_path, interrupt, drawn):
    path, first, again = tmp_path / "run.ckpt", FlowProgress(), FlowProgress()
    with pytest.raises(InterruptedError):
        train([Evaluation(4), first, interrupt(8, path)], 8, task=make_task(), data=COMPOSITE)
    train([Evaluation(4), again], 8, task=make_task(), data=COMPOSITE, resume=path)
    assert again.results() == first.results() != {}
    assert len(drawn["role_flow"]) == 1


# what is drawn


def test_pictures_show_the_published_sequence_where_the_data_have_it(train, drawn):
    task = make_task()
    data = train(
        [FlowProgress(key=40)], 5, task=task, data=partial(COMPOSITE, keys=(20, 40), length=6, size=640)
    ).datamodule
    ((weights, names, title),) = drawn["attention_lines"]
    assert [names[1], *names[2:4]] == ["40", "f4", "f3"]
    tokens = composite.sequences(data, [(4, 3)], [40])[0, 0]
    assert [list(data.vocabulary)[token] for token in tokens] == names
    torch.testing.assert_close(weights, composite.attention_flow(task.network.eval(), tokens))
    assert title == "attention, mean over heads"
    ((lower, upper, boxes, keys, pairs, _),) = drawn["target_map"]
    assert [*keys] == [*range(30, 41)]
    assert pairs == ["f3 f3, f2 f2", "f1 f2, f1 f3"]
    for matrix, box, (one, other) in zip((lower, upper), boxes, (((3, 3), (2, 2)), ((1, 2), (1, 3))), strict=True):
        torch.testing.assert_close(matrix, composite.pair_similarities(task.network, data, one, other))
        assert torch.equal(box, composite.equal_answers(data, one, other))
    ((tables, framed, _),) = drawn["pair_table"]
    assert framed == [(4, 3)]
    expected = composite.pair_accuracies(task.network, data, 1024 // 16)
    assert all(torch.equal(tables[name], table) for name, table in expected.items())
    ((matrix, title, edges),) = drawn["similarity_map"]
    torch.testing.assert_close(matrix, composite.value_similarities(task.network, data)[0])
    assert [*edges] == [*range(4, 4 * 8, 4)]  # 25 … 32 are what all four functions make of 20 … 40
    assert title.endswith("g(x; a) = 25 … 32")


@pytest.mark.parametrize("make", [COMPOSITE, ADDITION])
def test_pictures_show_the_first_sequence_where_the_data_have_no_such_key(train, drawn, make):
    data = train([FlowProgress()], 2, task=make_task(), data=make).datamodule
    ((_, names, _),) = drawn["attention_lines"]
    assert " ".join(names) == data.sequence_names(data.parts["val"].tokens[:1])[0]


PLAIN = {"flow.png", "flow_roles.png"}
PAIRS = PLAIN | {"pairs.png", "values.png"}


@pytest.mark.parametrize(
    ("make", "files"),
    [
        (ADDITION, PLAIN),
        (SINGLE, PLAIN),
        (COMPOSITE, PAIRS | {"alike.png"}),
        (partial(COMPOSITE, keys=(20, 39)), PAIRS),
    ],
)
def test_pictures_are_written(train, tmp_path, draws, make, files):
    train([FlowProgress()], 2, task=make_task(), data=make)
    assert {path.name for path in tmp_path.glob("*.png")} == files
    for file in files:
        height, width, _ = matplotlib.image.imread(tmp_path / file).shape
        assert min(height, width) > 300


def test_weights_that_are_not_finite_are_not_drawn(train, drawn):
    class Broken(Callback):
        def on_train_end(self, trainer, pl_module):
            with torch.no_grad():
                pl_module.network.decoder.blocks[0].attention.query.weight.fill_(math.nan)

    with pytest.warns(UserWarning, match="FlowProgress: the weights are not finite, and nothing is drawn"):
        train([FlowProgress(), Broken()], 2, task=make_task(), data=ADDITION)
    assert not any(drawn.values())


# refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": 98}, r"FlowProgress: key has 98; the data have keys 20 to 40 and anchors 1 to 4"),
        ({"keys": (30, 41), "pair": (4, 5)}, r"pair has \(4, 5\), keys has 41"),
        ({"lower": ((3, 3), (0, 2))}, r"lower has \(0, 2\)"),
    ],
)
def test_what_is_to_be_drawn_has_to_be_there(options, message):
    network, data = ArithmeticTransformer(40, 5, width=8, heads=2), COMPOSITE()
    with pytest.raises(ValueError, match=message):
        FlowProgress(**options).check_run(network, data)
    FlowProgress().check_run(network, data)  # though it has no key 99
    FlowProgress(key=21, keys=(20, 25), pair=(1, 1)).check_run(network, data)


def test_other_networks_and_data_are_refused():
    data = ADDITION()
    with pytest.raises(ValueError, match="FlowProgress is for an ArithmeticTransformer, not for a AdditiveNetwork"):
        FlowProgress().check_run(AdditiveNetwork(7, 4, width=4), data)
    network = ArithmeticTransformer(7, 4, width=4, heads=1)
    sequences = LinearInContextDataModule(5, 4, 4, batch_size=24, evaluation_functions=4, evaluation_size=40)
    for other in (sequences, None):
        with pytest.raises(ValueError, match=f"for equations, .*, not for {type(other).__name__}"):
            FlowProgress().check_run(network, other)
    FlowProgress().check_run(network, data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "rows is 0; expected a positive number of sequences"),
        ({"keys": (40, 30)}, r"keys is \[40, 30\]; expected first and last key, as in \[30, 40\]"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FlowProgress(**options)


def test_what_is_not_known_is_null():
    progress = FlowProgress()
    assert progress.results() == {}
    progress.similarities = {"same_answer": math.nan, "other_answer": 0.5}
    assert progress.results() == {"same_answer_similarity": None, "other_answer_similarity": 0.5}
