"""What a run logs is in its folder at once, once for each step, and survives being killed and resumed."""

import csv
import math
import tempfile
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric.utilities import rank_zero_only
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data
from torch.utils.data import DataLoader

from grok_lightning.logger import RunLogger, read_metrics
from grok_lightning.metrics_table import MetricsTable


def event_files(folder):
    return sorted(folder.glob("*tfevents*"))


def records(path):
    return list(RawEventFileLoader(str(path)).Load())


def accumulated(folder):
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def scalars(folder):
    events = accumulated(folder)
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def log(logger, steps, column_from=10):
    """Logs two metrics by two calls at each step, and one more column from a later step on."""
    for step in steps:
        logger.log_metrics({"train/loss": step / 8, "epoch": 0}, step)
        logger.log_metrics({"val/loss": step / 4}, step)
        if step >= column_from:
            logger.log_metrics({"test/loss": step / 2}, step)


class TestTable:
    def test_calls_for_one_step_make_one_row_and_epoch_is_dropped(self, tmp_path):
        logger = RunLogger(tmp_path)
        log(logger, [0, 25, 50], column_from=50)
        expected = "step,train/loss,val/loss,test/loss\n0,0.0,0.0,\n25,3.125,6.25,\n50,6.25,12.5,25.0\n"
        assert (tmp_path / "metrics.csv").read_text() == expected

    def test_last_value_of_a_step_stands_also_when_it_is_shorter(self, tmp_path):
        table = MetricsTable(tmp_path / "metrics.csv")
        table.record(0, {"loss": 1.0})
        table.record(25, {"loss": 0.123456789012345})
        table.record(25, {"loss": 1.0})
        assert (tmp_path / "metrics.csv").read_text() == "step,loss\n0,1.0\n25,1.0\n"

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 6),
                st.dictionaries(st.sampled_from(["a", "b/c", 'd,"e']), st.floats(allow_nan=False), min_size=1),
                st.booleans(),
            ),
            max_size=12,
        )
    )
    def test_reads_back_exactly_what_was_recorded_in_any_order(self, records):
        rows = {}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "metrics.csv"
            table = MetricsTable(path)
            for step, values, reopen in records:
                table = MetricsTable(path) if reopen else table
                table.record(step, values)
                rows.setdefault(step, {}).update(values)
                found = read_metrics(Path(folder))
                names = {name for row in rows.values() for name in row}
                assert {name: list(zip(*series, strict=True)) for name, series in found.items()} == {
                    name: [(step, rows[step][name]) for step in sorted(rows) if name in rows[step]] for name in names
                }
                lines = path.read_text().splitlines()
                assert [int(line.split(",")[0]) for line in lines[1:]] == sorted(rows)

    def test_single_precision_and_nan_survive(self, tmp_path):
        logger = RunLogger(tmp_path)
        logger.log_metrics({"loss": torch.tensor(0.1), "norm": math.nan}, 0)
        metrics = read_metrics(tmp_path)
        assert metrics["loss"].values == [float(torch.tensor(0.1))]
        assert math.isnan(metrics["norm"].values[0])

    @given(st.integers(0, 6), st.integers(0, 7))
    def test_cut_and_continued_is_the_uninterrupted_file(self, cut, wide_from):
        def record(table, steps):
            for step in steps:
                table.record(step, {"a": step / 3} | ({"b": step / 7} if step >= wide_from else {}))

        with tempfile.TemporaryDirectory() as folder:
            whole, resumed = Path(folder) / "whole.csv", Path(folder) / "resumed.csv"
            record(MetricsTable(whole), range(8))
            record(MetricsTable(resumed), range(7))
            table = MetricsTable(resumed)
            table.cut(cut)
            assert table.last_step == cut
            record(table, range(cut + 1, 8))
            assert resumed.read_bytes() == whole.read_bytes()

    def test_torn_last_line_is_dropped_and_written_over(self, tmp_path):
        path = tmp_path / "metrics.csv"
        lines = ["step,a,b\n", "0,1.5,2.5\n", "25,0.125,0.25\n"]
        for length in range(len(lines[-1])):
            path.write_text("".join(lines[:-1]) + lines[-1][:length])
            assert read_metrics(tmp_path) == {"a": ([0], [1.5]), "b": ([0], [2.5])}
            MetricsTable(path).record(25, {"a": 0.125, "b": 0.25})
            assert path.read_text() == "".join(lines)

    def test_end_of_a_longer_row_is_dropped(self, tmp_path):
        # A process killed after writing a shorter row over a longer one, before truncating.
        old, new = "25,0.123456,0.123456\n", "25,1.0,2.0\n"
        (tmp_path / "metrics.csv").write_text("step,a,b\n" + new + old[len(new) :])
        assert read_metrics(tmp_path) == {"a": ([25], [1.0]), "b": ([25], [2.0])}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("step,a\n0,1.0,2.0\n25,1.0\n", "line 2 has 3 fields, expected 2"),
            ("epoch,step\n0,1\n", "first column is 'epoch', expected 'step'"),
        ],
    )
    def test_damaged_table_is_refused(self, tmp_path, text, message):
        (tmp_path / "metrics.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_metrics(tmp_path)

    def test_run_without_metrics_is_not_found(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            read_metrics(tmp_path)


class TestRunLogger:
    def test_what_is_logged_is_on_disk_at_once(self, tmp_path):
        logger = RunLogger(tmp_path / "run")
        log(logger, range(3))
        assert read_metrics(tmp_path / "run")["val/loss"] == ([0, 1, 2], [0.0, 0.25, 0.5])
        assert scalars(tmp_path / "run") == {
            "train/loss": [(0, 0.0), (1, 0.125), (2, 0.25)],
            "val/loss": [(0, 0.0), (1, 0.25), (2, 0.5)],
        }

    def test_same_value_at_the_same_step_is_one_event(self, tmp_path):
        logger = RunLogger(tmp_path)
        log(logger, [0, 25])
        log(logger, [25])
        assert scalars(tmp_path)["train/loss"] == [(0, 0.0), (25, 3.125)]

    def test_figures_text_and_a_closed_writer_use_the_one_file(self, tmp_path):
        logger = RunLogger(tmp_path)
        log(logger, [0])
        logger.experiment.add_image("picture", torch.zeros(1, 2, 2), 1)
        logger.experiment.close()
        logger.experiment.add_text("note", "text", 2)
        logger.finalize("success")
        assert len(event_files(tmp_path)) == 1
        assert accumulated(tmp_path).Tags()["images"] == ["picture"]
        assert accumulated(tmp_path).Tags()["tensors"] == ["note/text_summary"]

    def test_names_lead_to_the_flat_folder(self, tmp_path):
        logger = RunLogger(tmp_path)
        assert (logger.name, logger.version) == ("", "")
        assert {logger.root_dir, logger.save_dir, logger.log_dir} == {str(tmp_path)}

    def test_hyperparameters_are_kept(self, tmp_path):
        logger = RunLogger(tmp_path)
        logger.log_hyperparams({"width": 8})
        logger.log_hyperparams(Namespace(depth=2))
        assert logger.hyperparameters == {"width": 8, "depth": 2}
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("metrics", "step", "message"),
        [({"loss": 1.0}, None, "step is None"), ({"loss": 1.0}, -1, "step is -1"), ({"step": 1.0}, 1, "'step'")],
    )
    def test_missing_or_wrong_step_is_refused(self, tmp_path, metrics, step, message):
        with pytest.raises(ValueError, match=message):
            RunLogger(tmp_path).log_metrics(metrics, step)

    def test_other_ranks_write_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(rank_zero_only, "rank", 1)
        logger = RunLogger(tmp_path)
        log(logger, [0])
        logger.experiment.add_text("note", "text", 0)
        logger.log_results({"width": 8}, {"loss": 1.0})
        logger.rewind(0)
        assert list(tmp_path.iterdir()) == []


class TestResults:
    def test_results_are_in_the_event_file_once(self, tmp_path):
        logger = RunLogger(tmp_path)
        log(logger, [0, 25])
        chosen = {"operation": "add", "modulus": 97, "rate": 0.5, "tied": True, "dropout": None}
        logger.log_results(chosen, {"sustained_at": 25.0, "grokked_at": None})
        with pytest.raises(RuntimeError, match="have been logged"):
            logger.log_results(chosen, {})

        content = accumulated(tmp_path).PluginTagToContent("hparams")
        hyperparameters = parse_session_start_info_plugin_data(content[SESSION_START_INFO_TAG]).hparams
        assert {name: getattr(value, value.WhichOneof("kind")) for name, value in hyperparameters.items()} == {
            "operation": "add",
            "modulus": 97.0,
            "rate": 0.5,
            "tied": "True",
        }
        assert {tag: values for tag, values in scalars(tmp_path).items() if tag.startswith("results/")} == {
            "results/sustained_at": [(25, 25.0)]
        }
        assert len(event_files(tmp_path)) == 1

    def test_rewind_forgets_results_so_that_an_extended_run_states_its_own(self, tmp_path):
        logger = RunLogger(tmp_path)
        log(logger, [0, 25])
        logger.log_results({"max_steps": 25}, {"sustained_at": 0.0})
        logger.rewind(25)
        log(logger, [50])
        logger.log_results({"max_steps": 50}, {"sustained_at": 50.0})
        content = accumulated(tmp_path).PluginTagToContent("hparams")
        start = parse_session_start_info_plugin_data(content[SESSION_START_INFO_TAG])
        assert start.hparams["max_steps"].number_value == 50
        assert scalars(tmp_path)["results/sustained_at"] == [(50, 50.0)]
        assert scalars(tmp_path)["train/loss"] == [(0, 0.0), (25, 3.125), (50, 6.25)]


class TestRewind:
    def run(self, folder, steps):
        logger = RunLogger(folder)
        for step in steps:
            log(logger, [step])
            logger.experiment.add_image("picture", torch.full((1, 2, 2), step / 100), step)
            logger.experiment.add_text("note", f"at {step}", step)
        return logger

    def test_records_up_to_the_step_are_copied_unchanged(self, tmp_path):
        self.run(tmp_path / "short", range(6))
        self.run(tmp_path / "long", range(9))
        (before,) = event_files(tmp_path / "long")
        original = records(before)
        RunLogger(tmp_path / "long").rewind(5)
        (after,) = event_files(tmp_path / "long")
        assert after.name > before.name
        kept = len(records(event_files(tmp_path / "short")[0]))
        assert records(after) == original[:kept]
        assert sorted(path.name for path in (tmp_path / "long").iterdir()) == sorted([after.name, "metrics.csv"])

    def test_continued_run_has_each_step_once(self, tmp_path):
        self.run(tmp_path / "whole", range(14))
        self.run(tmp_path / "resumed", range(12))
        for step in (8, 3):
            RunLogger(tmp_path / "resumed").rewind(step)
        logger = RunLogger(tmp_path / "resumed")
        logger.rewind(3)
        log(logger, [3])  # a resumed run may evaluate again where it starts
        for step in range(4, 14):
            log(logger, [step])
            logger.experiment.add_image("picture", torch.full((1, 2, 2), step / 100), step)
            logger.experiment.add_text("note", f"at {step}", step)

        whole, resumed = tmp_path / "whole", tmp_path / "resumed"
        assert (resumed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
        assert scalars(resumed) == scalars(whole)
        assert len(event_files(resumed)) == 1
        images = [(image.step, image.encoded_image_string) for image in accumulated(resumed).Images("picture")]
        assert images == [(image.step, image.encoded_image_string) for image in accumulated(whole).Images("picture")]
        assert [text.step for text in accumulated(resumed).Tensors("note/text_summary")] == list(range(14))

    def test_truncated_last_record_is_dropped(self, tmp_path):
        log(RunLogger(tmp_path), range(3))
        (path,) = event_files(tmp_path)
        content, last = path.read_bytes(), records(path)[-1]
        for missing in range(1, len(last) + 16):
            path.write_bytes(content[:-missing])
            logger = RunLogger(tmp_path)
            logger.rewind(2)
            logger.experiment.add_scalar("after", 1.0, 3)
            assert scalars(tmp_path)["val/loss"] == [(0, 0.0), (1, 0.25)]
            assert scalars(tmp_path)["after"] == [(3, 1.0)]
            (path,) = event_files(tmp_path)

    def test_files_of_several_sessions_become_one(self, tmp_path):
        log(RunLogger(tmp_path), range(3))
        log(RunLogger(tmp_path), range(3, 6))
        assert len(event_files(tmp_path)) == 2
        RunLogger(tmp_path).rewind(4)
        (path,) = event_files(tmp_path)
        assert scalars(tmp_path)["train/loss"] == [(step, step / 8) for step in range(5)]
        assert sum(b"brain.Event" in record for record in records(path)) == 1

    def test_rewind_that_was_killed_can_be_repeated(self, tmp_path):
        log(RunLogger(tmp_path), range(6))
        (old,) = event_files(tmp_path)
        content = old.read_bytes()
        RunLogger(tmp_path).rewind(4)
        old.write_bytes(content)  # killed before the old file was deleted
        (tmp_path / "events.partial").write_bytes(b"torn")  # or while one was being copied
        (tmp_path / "metrics.csv.partial").write_bytes(b"torn")
        RunLogger(tmp_path).rewind(4)
        assert scalars(tmp_path)["train/loss"] == [(step, step / 8) for step in range(5)]
        assert list(tmp_path.glob("*partial*")) == []

    def test_rewind_before_the_first_step_keeps_nothing(self, tmp_path):
        log(RunLogger(tmp_path), [5, 6])
        logger = RunLogger(tmp_path)
        logger.rewind(4)
        assert read_metrics(tmp_path) == {}
        log(logger, [5])
        assert scalars(tmp_path) == {"train/loss": [(5, 0.625)], "val/loss": [(5, 1.25)]}

    @pytest.mark.parametrize("exists", [True, False])
    def test_rewind_of_nothing_does_nothing(self, tmp_path, exists):
        folder = tmp_path if exists else tmp_path / "absent"
        logger = RunLogger(folder)
        logger.rewind(100)
        assert folder.exists() == exists
        assert list(tmp_path.iterdir()) == []
        log(logger, [0])
        assert scalars(folder)["train/loss"] == [(0, 0.0)]


class LoggedModel(BoringModel):
    """Logs directly, at the number of steps done, and through Lightning, which counts from 0 and adds "epoch"."""

    def __init__(self):
        super().__init__()
        self.dataset = RandomDataset(32, 8)

    def train_dataloader(self):
        return DataLoader(self.dataset)

    val_dataloader = train_dataloader

    def on_train_batch_end(self, outputs, batch, batch_index):
        self.logger.log_metrics({"train/loss": outputs["loss"]}, self.global_step)

    def validation_step(self, batch, batch_index):
        self.log("val/loss", super().validation_step(batch, batch_index)["x"])


def fit(folder, max_steps, resume_from=None):
    seed_everything(0)
    logger = RunLogger(folder)
    checkpoint = ModelCheckpoint(every_n_train_steps=4, save_top_k=-1, filename="{step}", save_last=False)
    if resume_from is not None:
        logger.rewind(resume_from)
    trainer = Trainer(
        logger=logger,
        callbacks=checkpoint,
        max_steps=max_steps,
        limit_train_batches=4,
        limit_val_batches=2,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    path = None if resume_from is None else folder / "checkpoints" / f"step={resume_from}.ckpt"
    trainer.fit(LoggedModel(), ckpt_path=path)


@pytest.mark.filterwarnings("ignore")
def test_resumed_trainer_logs_what_an_uninterrupted_one_does(tmp_path):
    fit(tmp_path / "whole", 12)
    fit(tmp_path / "resumed", 10)
    fit(tmp_path / "resumed", 12, resume_from=4)

    with (tmp_path / "whole" / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == list(range(1, 13))
    assert read_metrics(tmp_path / "whole")["val/loss"].steps == [3, 7, 11]
    assert set(read_metrics(tmp_path / "whole")) == {"train/loss", "val/loss"}
    assert read_metrics(tmp_path / "resumed") == read_metrics(tmp_path / "whole")
    assert scalars(tmp_path / "resumed") == scalars(tmp_path / "whole")
    assert len(event_files(tmp_path / "resumed")) == 1
