import re
from io import StringIO
from types import SimpleNamespace

from rich.console import Console
from rich.table import Table

from grok_lightning import terminal
from grok_lightning.terminal import Line, Screen


def screen(terminal=True):
    return Screen(Console(file=StringIO(), force_terminal=terminal, width=100))


def text(shown):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.console.file.getvalue())


def last_lines(shown, count):
    return [line.strip() for line in text(shown).replace("\r", "\n").splitlines() if line.strip()][-count:]


def test_every_thing_that_goes_on_has_a_line(monkeypatch):
    monkeypatch.setattr(terminal, "REFRESH_SECONDS", -1.0)
    shown = screen()
    shown.show(Line("add, seed 0", 10, 100, "step 10"))
    shown.show(Line("add, seed 1", 20, 100, "step 20"))
    shown.show(Line("add, seed 0", 30, 100, "step 30"))
    first, second = last_lines(shown, 2)
    assert "add, seed 0" in first
    assert "step 30" in first
    assert "add, seed 1" in second
    assert "step 20" in second


def test_many_movements_are_drawn_together(monkeypatch):
    shown = screen()
    refreshed = []
    monkeypatch.setattr(shown._bars, "refresh", lambda: refreshed.append(True))
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: 50.0))
    for step in range(100):
        shown.show(Line("add", step, 100))
    assert len(refreshed) == 2  # when the lines are begun, and once for all movements


def test_a_closed_line_leaves_the_others():
    shown = screen()
    for seed in range(2):
        shown.show(Line(f"add, seed {seed}", 10, 100, "here"))
    shown.drop("add, seed 0")
    shown.drop("add, seed 0")  # a second time nothing happens
    assert list(shown.lines) == ["add, seed 1"]
    assert "seed 1" in last_lines(shown, 1)[0]
    shown.drop("add, seed 1")
    assert shown.lines == {}
    shown.print("after")
    assert last_lines(shown, 1) == ["after"]


def test_text_is_printed_as_it_is_and_tables_as_tables():
    shown = screen(terminal=False)
    shown.print("scratch[lr=0.1], [bold]seed[/] 0")
    table = Table("stage", box=None)
    table.add_row("add")
    shown.print(table)
    assert [line.strip() for line in text(shown).splitlines()] == ["scratch[lr=0.1], [bold]seed[/] 0", "stage", "add"]


def test_outside_a_terminal_there_are_no_lines():
    shown = screen(terminal=False)
    shown.show(Line("add", 1, 2, "here"))
    shown.drop("add")
    assert text(shown) == ""
