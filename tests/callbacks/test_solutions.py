"""Which solution a network found, on networks whose answers are known."""

import pytest
import torch

from grok_lightning.callbacks import Evaluation, SolutionProgress
from grok_lightning.data import BinaryOperationDataModule, CompositeFunctionDataModule
from grok_lightning.networks import AdditiveNetwork
from grok_lightning.tasks import EquationTask

SHIFTS = {1: 5, 2: 1, 3: -2, 4: -8}
PARTS = ("unseen_train_keys", "unseen_test_keys")


def composite(**options):
    def make():
        return CompositeFunctionDataModule(size=3200, batch_size=64, keys=(20, 40), length=5, **options)

    return make


class Told(AdditiveNetwork):
    """A network that answers as it is told: by the key and the two anchors after it."""

    rule = None

    def __init__(self, vocabulary_size, length):
        super().__init__(vocabulary_size, length, width=4)

    def forward(self, tokens):
        logits = super().forward(tokens)
        data = type(self).data
        answers = [data.numbers.index(number) for number in map(type(self).rule, *read(data, tokens))]
        return logits * 0 + torch.nn.functional.one_hot(torch.tensor(answers), self.vocabulary_size)


def read(data, tokens):
    """Key, first and second anchor of each sequence, read token by token."""
    names, rows = list(data.vocabulary), []
    for row in tokens.tolist():
        words = [names[token] for token in row]
        place = next(i for i, word in enumerate(words) if word.startswith("f"))
        rows.append((int(words[place - 1]), int(words[place][1:]), int(words[place + 1][1:])))
    return zip(*rows, strict=True)


def inferred(key, first, second):
    return key + SHIFTS[first] + SHIFTS[second]


def trained(key, first, second):
    """What training answers: everything inferred but (3, 4)."""
    return key - 6 if (first, second) == (3, 4) else inferred(key, first, second)


def copied(key, first, second):
    return trained(key, second, first) if (first, second) == (4, 3) else trained(key, first, second)


def neither(key, first, second):
    return key if (first, second) == (4, 3) else trained(key, first, second)


def half(key, first, second):
    return (inferred if key % 2 and (first, second) == (4, 3) else copied)(key, first, second)


def unlearned(key, first, second):
    return inferred(key, first, second) if (first, second) == (4, 3) else key


def told(train, rule, kept, **options):
    data = composite()()
    Told.rule, Told.data = staticmethod(rule), data
    callback = SolutionProgress(**options)
    train([Evaluation(1), callback], 1, task=EquationTask(Told), data=lambda: data, logger=kept)
    return callback, data, kept.rows[1]


@pytest.mark.parametrize(
    ("rule", "solution", "shares"),
    [
        (lambda *words: inferred(*words) if words[1:] == (4, 3) else trained(*words), "inferential", (1, 0, 0)),
        (copied, "symmetric", (0, 1, 0)),
        (neither, "other", (0, 0, 1)),
        (unlearned, "unlearned", (1, 0, 0)),
    ],
)
def test_the_solution_is_that_of_the_answers(train, kept, rule, solution, shares):
    callback, _, row = told(train, rule, kept)
    found = dict(zip(("inferential", "symmetric"), shares, strict=False))
    assert callback.results() == pytest.approx({"solution": solution} | found | _best(found))
    for part in PARTS:
        assert [row[f"{part}/{name}"] for name in ("inferential", "symmetric", "other")] == pytest.approx(shares)


def test_shares_are_counted_over_the_sequences(train, kept):
    callback, data, row = told(train, half, kept)
    for part in PARTS:
        keys = next(read(data, data.parts[part].tokens))
        odd = sum(key % 2 for key in keys) / len(keys)
        assert row[f"{part}/inferential"] == pytest.approx(odd)
        assert row[f"{part}/symmetric"] == pytest.approx(1 - odd)
    assert callback.results()["solution"] == "other"
    keys = list(next(read(data, data.parts[PARTS[0]].tokens)))
    odd = sum(key % 2 for key in keys) / len(keys)
    more = told(train, half, type(kept)(), threshold=max(odd, 1 - odd) - 0.01)[0].results()["solution"]
    assert more == ("inferential" if odd > 0.5 else "symmetric")


def test_where_both_solutions_agree_nothing_is_symmetric(train, kept):
    data = composite(unseen=["3 4", "4 3"], overrides={})()
    Told.rule, Told.data = staticmethod(inferred), data
    callback = SolutionProgress()
    train([Evaluation(1), callback], 1, task=EquationTask(Told), data=lambda: data, logger=kept)
    assert kept.rows[1]["unseen_train_keys/inferential"] == 1
    assert "unseen_train_keys/symmetric" not in kept.rows[1]
    assert callback.results()["solution"] == "inferential"
    assert callback.results()["symmetric"] is None


def _best(found):
    return {f"{name}_best": share for name, share in found.items()}


def test_the_best_shares_are_those_of_the_whole_run(train, kept):
    data = composite()()
    Told.data = data

    class Forgets(EquationTask):
        """Infers until its last evaluation, and is symmetric then."""

        def on_validation_start(self):
            Told.rule = staticmethod(copied if self.trainer.global_step == 3 else inferred)

    callback = SolutionProgress()
    train([Evaluation(1), callback], 3, task=Forgets(Told), data=lambda: data, logger=kept)
    shares = {"inferential": 0.0, "symmetric": 1.0, "inferential_best": 1.0, "symmetric_best": 1.0}
    assert callback.results() == {"solution": "symmetric"} | shares
    again = SolutionProgress()
    again.load_state_dict(callback.state_dict())
    assert again.results() == callback.results()


@pytest.mark.parametrize("options", [{"threshold": 0}, {"learned": 1.1}, {"threshold": float("nan")}])
def test_shares_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is .*; expected a share above 0 and at most 1"):
        SolutionProgress(**options)


@pytest.mark.parametrize(
    "data", [composite(anchors=1), composite(unseen=[]), lambda: BinaryOperationDataModule("add", 5, batch_size=8)]
)
def test_data_without_unseen_pairs_are_refused(data):
    with pytest.raises(ValueError, match="has no unseen pairs; use CompositeFunctionDataModule"):
        SolutionProgress().check_run(None, data())


def test_where_both_solutions_agree_a_copy_is_no_inference(train, kept):
    """Of five unseen pairs four are answered alike by both solutions, and (4, 3) tells them apart."""
    data = composite(unseen=["4 3", "2 1", "3 1", "4 1", "4 2"])()
    Told.rule, Told.data = staticmethod(copied), data
    callback = SolutionProgress()
    train([Evaluation(1), callback], 1, task=EquationTask(Told), data=lambda: data, logger=kept)
    shares = [kept.rows[1][f"unseen_train_keys/{name}"] for name in ("inferential", "symmetric", "other")]
    assert shares == [0, 1, 0]
    assert callback.results()["solution"] == "symmetric"


def test_one_of_several_unseen_pairs_can_be_asked_alone(train, kept):
    data = composite(unseen=["4 3", "2 1"])()
    Told.rule, Told.data = staticmethod(lambda *words: words[0] if words[1:] == (2, 1) else copied(*words)), data
    found = {}
    for pair in ("4 3", "2 1", None):
        callback = SolutionProgress(pair=pair)
        train([Evaluation(1), callback], 1, task=EquationTask(Told), data=lambda: data)
        found[pair] = callback.results()["inferential"], callback.results()["symmetric"]
    assert found == {"4 3": (0, 1), "2 1": (0, None), None: (0, 1)}
    with pytest.raises(ValueError, match="pair is '3 4'; expected an unseen one, 4 3 or 2 1"):
        SolutionProgress(pair="3 4").check_run(None, data)


def test_functions_that_do_not_commute_are_told_apart(train, kept):
    """With both orders unseen the pair turned around has never been answered: its single functions stand for it."""
    data = composite(functions=["x + 5", "2 * x"], overrides={}, unseen=["1 2", "2 1"])()
    Told.data = data
    for rule, solution in (
        (lambda x, a, b: (x + 5) * 2 if a == 1 else 2 * x + 5, "inferential"),
        (lambda x, a, b: (x + 5) * 2 if a == 2 else 2 * x + 5, "symmetric"),
    ):
        Told.rule = staticmethod(lambda x, a, b, rule=rule: rule(x, a, b) if a != b else (x + 10 if a == 1 else 4 * x))
        callback = SolutionProgress()
        train([Evaluation(1), callback], 1, task=EquationTask(Told), data=lambda: data)
        assert callback.results()["solution"] == solution


def test_designated_functions_have_their_shares(train, kept):
    functions = {"copied": "x - 6", "halved": "x // 2"}
    callback, data, row = told(train, half, kept, designated=functions)
    for part in PARTS:
        keys = list(next(read(data, data.parts[part].tokens)))
        answers = [inferred(key, 4, 3) if key % 2 else key - 6 for key in keys]
        for name, expected in (("copied", [key - 6 for key in keys]), ("halved", [key // 2 for key in keys])):
            right = sum(map(int.__eq__, answers, expected)) / len(keys)
            assert row[f"{part}/{name}"] == pytest.approx(right)
    assert callback.results()["copied"] == pytest.approx(row["unseen_train_keys/copied"])
    assert callback.results()["copied"] == pytest.approx(callback.results()["symmetric"])


def test_designated_functions_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="designated: 'other' is the name of another share"):
        SolutionProgress(designated={"other": "x"})
    with pytest.raises(ValueError, match=r"SolutionProgress: designated.more: .*y"):
        SolutionProgress(designated={"more": "x + y"}).check_run(None, composite()())


def test_a_function_without_a_token_is_no_answer():
    data = composite(modulus=None)()
    assert data.mapped("x + 1000").tolist() == [-1] * len(data.keys)
    assert [data.numbers[token] for token in data.mapped("x - 1").tolist()] == [key - 1 for key in data.keys]
