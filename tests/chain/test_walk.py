import json
import os
import shutil
import signal
import sys
import time

import pytest
from filelock import FileLock

FAILING = """
from lightning.pytorch import Callback

class Fails(Callback):
    def on_train_start(self, trainer, pl_module):
        raise RuntimeError("out of luck\\nsecond line")
"""
FAILS = [{"class_path": "failing.Fails"}]


# reuse


def test_the_same_command_again_trains_nothing(trained, capsys):
    before = trained.times()
    assert trained.fit() == 0
    assert trained.times() == before
    said = capsys.readouterr().out
    for stage in ("donor", "plain", "heir"):
        assert f"{stage}, seed 0: finished before, reused from logs/small/run_000/{stage}/seed_0" in said
    assert [path.name for path in (trained.logs / "small").iterdir() if path.is_dir()] == ["run_000"]


def test_other_display_finds_the_same_folder_and_trains_nothing(trained):
    before = trained.times()
    assert trained.fit("--trainer.enable_progress_bar", "false", "--stages.heir.compare_to", "donor") == 0
    assert trained.times() == before
    report = json.loads((trained.logs / "small" / "run_000" / "report.json").read_text())
    assert report["stages"]["heir"]["compare_to"] == "donor"


def test_a_changed_stage_is_trained_again_with_those_that_need_it_and_the_rest_is_linked(trained):
    before, old = trained.times(), trained.weights("heir")
    assert trained.fit("--stages.donor.model.optimizer.lr", "0.02") == 0
    assert {name: at for name, at in trained.times().items() if name in before} == before
    links = {stage: trained.run(stage, number=1).is_symlink() for stage in ("donor", "plain", "heir")}
    assert links == {"donor": False, "plain": True, "heir": False}
    assert str(trained.run("plain", number=1).readlink()) == "../../run_000/plain/seed_0"
    assert trained.weights("heir", number=1) != old
    assert trained.manifest("heir", number=1)["donors"] == [trained.manifest("donor", number=1)["fingerprint"]]
    assert (trained.logs / "small" / "latest").read_text() == "run_001\n"


def test_another_recipe_reuses_the_run_by_a_relative_link_and_does_without_it_once_it_is_gone(trained):
    solo = trained.edited(trained.SMALL, stages__alone={"data.init_args.operation": "add"})
    trained.write(solo, "solo.yaml")
    before = trained.weights("donor")
    assert trained.fit(recipe="solo.yaml") == 0
    place = trained.run("alone", recipe="solo")
    assert str(place.readlink()) == "../../../small/run_000/donor/seed_0"
    assert set(trained.statuses()) == {f"small/run_000/{stage}/seed_0" for stage in ("donor", "plain", "heir")}
    shutil.rmtree(trained.run("donor"))
    assert trained.fit(recipe="solo.yaml") == 0
    assert not place.is_symlink()
    assert trained.weights("alone", recipe="solo") == before


def test_weights_that_were_deleted_are_saved_again(trained, capsys):
    before = trained.weights("donor")
    (trained.run("donor") / "network.safetensors").unlink()
    assert trained.fit("--replicates", "1") == 0
    said = capsys.readouterr().out
    assert "donor, seed 0: resumed" in said
    assert "heir, seed 0: finished before" in said
    assert trained.weights("donor") == before


def test_fresh_starts_over_in_a_new_folder_and_gets_the_same_bits(trained):
    before = trained.times()
    assert trained.fit("--fresh", "--only", "donor") == 0
    assert {name: at for name, at in trained.times().items() if name in before} == before
    assert not trained.run("donor", number=1).is_symlink()
    assert trained.weights("donor", number=1) == trained.weights("donor")
    assert not trained.run("plain", number=1).exists()


# replicates, and some stages only


def test_more_replicates_train_only_what_is_missing_and_each_is_a_solo_run(lab):
    lab.write(lab.edited(lab.PAIR, trainer__max_steps=10))
    assert lab.fit("--replicates", "2") == 0
    before = lab.times()
    assert lab.fit("--replicates", "3", "--only", "donor") == 0
    assert {name: at for name, at in lab.times().items() if name in before} == before
    assert sorted(path.name for path in lab.run("donor").parent.glob("seed_*")) == ["seed_0", "seed_1", "seed_2"]
    assert not lab.run("heir", 2).exists()
    assert lab.manifest("heir", 1)["donors"] == [lab.manifest("donor", 1)["fingerprint"]]
    assert lab.weights("donor", 1) != lab.weights("donor", 0)
    assert lab.fit("--seed_everything", "1", "--fresh", "--only", "heir") == 0  # and what it needs
    assert lab.weights("heir", 1, number=1) == lab.weights("heir", 1)


# failure


def test_a_failed_run_takes_those_that_need_it_along_and_the_others_go_on(lab, capsys):
    lab.write(lab.edited(lab.CHAIN, stages__last={"transfer": {"from": "heir", "parts": ["decoder"]}}))
    assert lab.fit("--stages.donor.model.optimizer.lr", "1e30") == 1
    said = capsys.readouterr().out
    failed = lab.manifest("donor")
    assert failed["status"] == "failed"
    assert failed["error"].startswith("FloatingPointError: ")
    assert "is nan at step" in failed["error"]
    assert "donor, seed 0: failed: " in said
    assert "heir, seed 0: not trained: it needs donor/seed_0, which failed" in said
    assert "last, seed 0: not trained: it needs heir/seed_0, which failed" in said
    assert lab.statuses() == {"small/run_000/donor/seed_0": "failed", "small/run_000/plain/seed_0": "finished"}
    report = json.loads((lab.logs / "small" / "run_000" / "report.json").read_text())
    assert [run["status"] for run in report["stages"]["donor"]["runs"]] == ["failed"]
    assert report["stages"]["heir"]["runs"] == []


def test_a_failure_is_told_in_a_few_lines_and_tried_again_by_the_same_command(lab, capsys):
    lab.write(FAILING, "failing.py")
    lab.write(lab.edited(lab.SMALL, trainer__callbacks=FAILS))
    assert lab.fit() == 1
    assert "run, seed 0: failed: RuntimeError: out of luck\nsecond line\n" in capsys.readouterr().out
    assert lab.manifest("run")["error"] == "RuntimeError: out of luck\nsecond line"
    assert (lab.run("run") / "traceback.txt").exists()
    lab.write(FAILING.replace("raise RuntimeError", "print"), "failing.py")
    del sys.modules["failing"]
    assert lab.fit() == 0
    assert not (lab.run("run") / "traceback.txt").exists()
    assert lab.manifest("run")["status"] == "finished"
    assert lab.manifest("run")["error"] is None


@pytest.mark.parametrize("what", ["checkpoint", "manifest", "weights"])
def test_a_full_disk_fails_the_run_and_leaves_the_others_untouched(trained, monkeypatch, capsys, what):
    before = trained.times()

    def full_disk(*args, **kwargs):
        if what == "checkpoint":
            args[1].parent.mkdir(parents=True)
            args[1].write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    target = {
        "checkpoint": "lightning.pytorch.Trainer.save_checkpoint",
        "manifest": "grok_lightning.chain.manifest.write_atomically",
        "weights": "grok_lightning.chain.run.save_weights",
    }[what]
    trained.write(trained.SMALL, "solo.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(target, full_disk)
        assert trained.fit("--trainer.max_steps", "6", recipe="solo.yaml") == 1
    captured = capsys.readouterr()
    assert captured.out.count("run, seed 0: failed: [Errno 28] No space left on device") == 1
    assert "Traceback" not in captured.out + captured.err
    assert {name: at for name, at in trained.times().items() if name in before} == before
    assert (trained.run("run", recipe="solo") / "manifest.json").exists() == (what != "manifest")
    if what == "checkpoint":
        assert list((trained.run("run", recipe="solo") / "checkpoints").iterdir()) == []
        assert trained.fit("--trainer.max_steps", "6", recipe="solo.yaml") == 0
        assert trained.manifest("run", recipe="solo")["status"] == "finished"


def test_a_log_folder_that_cannot_be_made_is_told(lab, capsys):
    lab.write(lab.SMALL)
    lab.write("", "logs")
    assert lab.fit() == 2
    assert (
        capsys.readouterr().err == "logs: cannot be written (Not a directory); choose another folder with --log_dir\n"
    )


# several processes


def test_two_processes_on_one_recipe_train_each_run_once(lab):
    lab.write(lab.PAIR)
    both = [lab.start(log=f"{name}.txt") for name in ("one", "two")]
    for process in both:
        process.join(60)
    texts = [(lab.folder / f"{name}.txt").read_text() for name in ("one", "two")]
    assert [process.exitcode for process in both] == [0, 0], texts
    assert sum(text.count("donor, seed 0: ended at") for text in texts) == 1
    assert sum(text.count("heir, seed 0: ended at") for text in texts) == 1
    assert sum(text.count("finished before, reused") for text in texts) == 2
    assert set(lab.statuses().values()) == {"finished"}
    assert len(lab.statuses()) == 2
    before = lab.times()
    assert lab.fit() == 0
    assert lab.times() == before


def test_a_waiting_process_heeds_an_interruption(lab, finished_chain):
    lab.write(lab.CHAIN)
    run = finished_chain / "logs" / "small" / "run_000" / "donor" / "seed_0"
    fingerprint = json.loads((run / "manifest.json").read_text())["fingerprint"]
    said = lab.write("", "other.txt")
    (lab.logs / ".locks").mkdir(parents=True)
    with FileLock(lab.logs / ".locks" / f"{fingerprint}.lock"):
        process = lab.start()
        while process.is_alive() and "donor, seed 0: another process is at it, waiting" not in said.read_text():
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        process.join(30)
    assert process.exitcode == 130, said.read_text()
    assert "interrupted between two runs; the same command goes on from there" in said.read_text()
