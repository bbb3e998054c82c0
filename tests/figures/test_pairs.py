"""Pictures of pairs of anchors: a table of accuracies, a map of similarities."""

import numpy as np
import pytest

from grok_lightning.figures import pair_table, target_map


def frames(axes):
    """The centres of the rectangles, as (row, column)."""
    return {tuple(np.round(patch.get_center()[::-1]).astype(int).tolist()) for patch in axes.patches}


def inside(figure):
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    return (drawn.min >= 0).all() and (drawn.max <= figure.get_size_inches()).all()


def test_each_table_is_a_panel_of_accuracies():
    tables = {"train keys": np.array([[1, 0.5], [0.25, 0]]), "test keys": np.array([[0.9, 0.8], [0.1, 1]])}
    figure = pair_table(tables, [(2, 1)], "A title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(tables)
    for axes, its in zip(figure.axes, tables.values(), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), its)
        written = {text.get_position(): text.get_text() for text in axes.texts}
        assert written == {(x, y): f"{100 * its[y, x]:.0f}%" for y in (0, 1) for x in (0, 1)}
        assert frames(axes) == {(1, 0)}
        assert [label.get_text() for label in axes.get_xticklabels()] == ["f1", "f2"]
    assert inside(figure)


def test_pairs_below_the_diagonal_are_not_those_above():
    keys, random = [30, 31, 32], np.random.default_rng(0)
    lower, upper = random.uniform(-1, 1, (2, 3, 3))
    boxes = np.eye(3, k=-2) + np.eye(3, k=1) > 0, np.eye(3, k=1) + np.eye(3) + np.eye(3, k=-1) > 0
    figure = target_map(lower, upper, boxes, keys, ["f3 f3, f2 f2", "f1 f2, f1 f3"], "A title")
    (axes,) = figure.axes
    entries = axes.images[0].get_array()
    for row in range(3):
        for column in range(3):
            if row == column:
                assert entries.mask[row, column]
            else:
                assert entries[row, column] == (lower if row > column else upper)[row, column]
    assert frames(axes) == {(2, 0), (0, 1), (1, 2)}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["30", "31", "32"]
    assert axes.get_title(loc="left") == "below: f3 f3, f2 f2   above: f1 f2, f1 f3"
    assert inside(figure)


def test_what_does_not_fit_is_refused():
    for tables in ({}, {"a": np.zeros((2, 3))}, {"a": np.zeros((2, 2)), "b": np.zeros((3, 3))}):
        with pytest.raises(ValueError, match=r"tables .*: expected \(anchors, anchors\)"):
            pair_table(tables)
    square = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"expected \(3, 3\) for the keys"):
        target_map(square, square, (square, square), [1, 2, 3], ["a", "b"], "")
    with pytest.raises(ValueError, match="two names"):
        target_map(square, square, (square, square), [1, 2], ["a"], "")
