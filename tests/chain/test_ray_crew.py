"""The same plan on Ray, with a cluster that is started on this machine."""

import sys

import pytest

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.plan import check_recipe, make_plan
from grok_lightning.chain.recipe import load_recipe, parse_override
from grok_lightning.chain.team import Team, plan_team, threads


def test_ray_trains_the_same_runs_and_only_what_fails_is_lost(lab, capsys):
    pytest.importorskip("ray")
    broken = {"transfer": None, "model.init_args.optimizer.init_args.lr": 1e30}
    lab.write(
        lab.edited(lab.PAIR, stages__broken=broken, stages__last={"transfer": {"from": "broken", "parts": ["decoder"]}})
    )
    assert lab.fit("--replicates", "2", "--engine", "ray") == 1
    said = capsys.readouterr().out
    assert "donor, seed 1: ended at step 20" in said
    assert "broken, seed 0: failed: " in said
    assert "last, seed 1: not trained: it needs broken/seed_1, which failed" in said
    with threads(1):
        assert lab.fit("--replicates", "2", "--workers", "1", "--fresh", "--only", "heir") == 0
    for stage in ("donor", "heir"):
        for seed in range(2):
            assert lab.weights(stage, seed) == lab.weights(stage, seed, number=1)


def test_ray_is_given_all_runs_that_can_train_at_once(lab):
    recipe = load_recipe(lab.write(lab.CHAIN), [parse_override("replicates", "3")])
    checked = check_recipe(recipe)
    runs = make_plan(recipe, checked)
    assert plan_team(runs, checked, None, "ray") == Team(6, 1, 0, "ray")
    assert plan_team(runs, checked, 2, "ray") == Team(2, 1, 0, "ray")


def test_runs_of_several_processes_are_refused(lab):
    options = ("trainer.accelerator", "cpu"), ("trainer.devices", "2"), ("trainer.strategy", "ddp")
    recipe = load_recipe(lab.write(lab.CHAIN), [parse_override(*option) for option in options])
    checked = check_recipe(recipe)
    with pytest.raises(ChainError, match="--engine ray: each run takes several processes already"):
        plan_team(make_plan(recipe, checked), checked, None, "ray")


def test_without_ray_it_is_said_how_to_get_it(lab, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "grok_lightning.chain.ray_crew", raising=False)
    lab.write(lab.SMALL)
    assert lab.fit("--engine", "ray") == 2
    assert capsys.readouterr().err == "--engine ray: Ray is not installed; pip install 'grok_lightning[ray]'\n"
    assert list(lab.statuses()) == []
