"""What callbacks leave in the folder of a run: tables and pictures."""

import csv
from types import SimpleNamespace

from matplotlib.figure import Figure

from grok_lightning.callbacks.keeping import keep_figures, write_table


def test_a_table_is_written_where_there_is_no_folder_yet(tmp_path):
    path = tmp_path / "run" / "table.csv"
    write_table(path, ["step", "name"], ([step, "a, b"] for step in range(2)))
    assert list(csv.reader(path.read_text(encoding="utf-8").splitlines())) == [
        ["step", "name"],
        ["0", "a, b"],
        ["1", "a, b"],
    ]


def test_pictures_go_to_the_folder_and_to_loggers_that_take_them(tmp_path):
    drawn = []
    takes = SimpleNamespace(add_figure=lambda tag, figure, global_step: drawn.append((tag, global_step)))
    loggers = [SimpleNamespace(experiment=takes), SimpleNamespace(experiment=None)]
    trainer = SimpleNamespace(default_root_dir=tmp_path / "run", loggers=loggers, global_step=7)
    keep_figures(trainer, {"one": Figure((1, 1)), "two": Figure((1, 1))})
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["one.png", "two.png"]
    assert drawn == [("pictures/one", 7), ("pictures/two", 7)]
