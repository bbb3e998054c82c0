import csv
import json

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LambdaLR, LinearLR, OneCycleLR, SequentialLR

from grok_lightning.chain.continuation import passes_through


def rows(folder):
    """Return what a run logged along the way, without its verdict on the test part."""
    with (folder / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if not name.startswith("test/")} for row in table]


@pytest.fixture
def plain(lab, finished_chain):
    """A laboratory with the config of CHAIN's stage `plain`, and what 20 steps of it led to."""
    lab.write(lab.edited(lab.SMALL, data__init_args__operation="sub"))
    lab.reference = finished_chain / "logs" / "small" / "run_000" / "plain" / "seed_0"
    return lab


def assert_as_if_in_one_go(lab, number):
    longer, reference = lab.manifest("run", number=number), json.loads((lab.reference / "manifest.json").read_text())
    assert longer["fingerprint"] == reference["fingerprint"]
    assert longer["results"] == reference["results"]
    written = (lab.run("run", number=number) / "network.safetensors").read_bytes()
    assert written == (lab.reference / "network.safetensors").read_bytes()
    assert rows(lab.run("run", number=number)) == rows(lab.reference)


def test_a_longer_run_goes_on_where_the_longest_of_the_shorter_ones_ended(plain, capsys):
    for steps in ("5", "10"):
        assert plain.fit("--trainer.max_steps", steps) == 0
    before = plain.times()
    capsys.readouterr()
    assert plain.fit() == 0
    assert "run, seed 0: continues the shorter run logs/small/run_001/run/seed_0" in capsys.readouterr().out
    assert {name: at for name, at in plain.times().items() if name in before} == before
    assert_as_if_in_one_go(plain, 2)


def test_a_run_that_was_evaluated_off_its_cadence_as_it_ended_is_not_continued(plain, capsys):
    assert plain.fit("--trainer.max_steps", "12") == 0
    assert plain.fit() == 0
    assert "continues" not in capsys.readouterr().out
    assert_as_if_in_one_go(plain, 1)


# what a checkpoint must be like


def save(folder, step, schedulers=(), position=({"position": 10},), **callbacks):
    path = folder / "checkpoints" / f"step_{step:08d}.ckpt"
    path.parent.mkdir(exist_ok=True)
    content = {
        "global_step": step,
        "callbacks": callbacks,
        "lr_schedulers": [scheduler.state_dict() for scheduler in schedulers],
        "loops": {"fit_loop": {"state_dict": {"combined_loader": list(position)}}},
    }
    torch.save(content, path)


def optimizer():
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def sequence(optimizer, end):
    return SequentialLR(optimizer, [ConstantLR(optimizer, 1.0), CosineAnnealingLR(optimizer, end)], milestones=[1])


@pytest.mark.parametrize(
    ("make", "allowed"),
    [
        (lambda o: ConstantLR(o, 1.0, total_iters=3), True),
        (lambda o: LinearLR(o, 0.1, total_iters=2), True),
        (lambda o: LambdaLR(o, lambda step: 1.0), True),
        (lambda o: CosineAnnealingLR(o, 40), True),
        (lambda o: CosineAnnealingLR(o, 10), False),
        (lambda o: OneCycleLR(o, 1.0, total_steps=10), False),
        (lambda o: LinearLR(o, 0.1, total_iters=10), False),
        (lambda o: sequence(o, 10), False),
        (lambda o: sequence(o, 20), True),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_a_schedule_that_knows_the_end_is_not_continued(tmp_path, make, allowed):
    scheduler = make(optimizer())
    for _ in range(10):
        scheduler.step()
    save(tmp_path, 10, [scheduler])
    assert passes_through(tmp_path, 10) is allowed


def test_only_a_whole_checkpoint_of_the_last_step_is_continued(tmp_path):
    assert not passes_through(tmp_path, 10)
    save(tmp_path, 10, Other={"a": torch.zeros(2)}, Evaluation={"next_step": 15, "off_cadence": False})
    assert passes_through(tmp_path, 10)
    assert not passes_through(tmp_path, 12)
    save(tmp_path, 10, Evaluation={"next_step": 15, "off_cadence": True})
    assert not passes_through(tmp_path, 10)
    save(tmp_path, 10, position=())
    assert not passes_through(tmp_path, 10)
    save(tmp_path, 10)
    (path,) = (tmp_path / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:50])
    assert not passes_through(tmp_path, 10)
