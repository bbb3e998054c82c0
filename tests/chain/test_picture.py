import json
import shutil
import threading

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.picture import save_picture
from grok_lightning.chain.report import Report

PNG = b"\x89PNG\r\n\x1a\n"


def images(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {tag: len(events.Images(tag)) for tag in events.Tags()["images"]}


def test_the_command_leaves_a_figure_and_an_event_file_of_the_recipe(finished_chain):
    folder = finished_chain / "logs" / "small" / "run_000"
    assert (folder / "report.png").read_bytes().startswith(PNG)
    assert images(folder) == {"accuracy": 1}
    assert (folder / "report.md").is_file()
    assert json.loads((folder / "report.json").read_text())["recipe"] == "small"


def test_a_new_figure_takes_the_place_of_the_old_one_also_when_two_processes_draw(trained):
    folder = trained.run("plain").parents[1]
    (folder / "report.png").write_bytes(b"old")
    failures = []

    def draw():
        try:
            save_picture(Report(folder))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=draw) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (folder / "report.png").read_bytes().startswith(PNG)
    assert images(folder) == {"accuracy": 1}


def test_runs_without_accuracies_have_no_figure(trained):
    folder = trained.run("plain").parents[1]
    (folder / "report.png").unlink()
    for stage in ("donor", "plain"):
        (trained.run(stage) / "metrics.csv").unlink()
    (trained.run("heir") / "metrics.csv").write_text("step,val/loss\n0,1.0\n")
    save_picture(Report(folder))
    assert not (folder / "report.png").exists()


def test_a_failed_run_has_a_curve_as_far_as_it_came(trained):
    folder = trained.run("plain").parents[1]
    shutil.rmtree(trained.run("donor"))
    (trained.run("plain") / "metrics.csv").write_text("step,val/accuracy\n0,0.5\n5,0.25\n")
    save_picture(Report(folder))
    assert (folder / "report.png").read_bytes().startswith(PNG)


def test_a_full_disk_is_told(trained, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full_disk)
    with pytest.raises(ChainError, match="cannot be written"):
        save_picture(Report(trained.run("plain").parents[1]))
