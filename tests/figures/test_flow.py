"""Pictures of attention as lines in a sequence, and between roles."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from grok_lightning.figures import PALETTE, attention_lines, role_flow

NAN = float("nan")


def lines_of(figure):
    """Each line as (from, layer, to, layer above), with its width and opacity."""
    (axes,) = figure.axes
    found = {}
    for collection in axes.collections[:-1]:
        for segment, width, colour in zip(
            collection.get_segments(), collection.get_linewidths(), collection.get_colors(), strict=True
        ):
            (seen, below), (looks, above) = segment.tolist()
            assert above == below + 1
            assert tuple(colour[:3]) == pytest.approx(to_rgb(PALETTE[0]))
            found[int(below), int(looks), int(seen)] = width, colour[3]
    return found


def inside(figure):
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    return (drawn.min >= 0).all() and (drawn.max <= figure.get_size_inches()).all()


def test_lines_are_as_thick_and_opaque_as_the_attention_is_large():
    weights = np.zeros((2, 3, 3))
    weights[0] = [[1, 0, 0], [0.25, 0.75, 0], [0.01, 0.5, 0.49]]
    weights[1, :, 0] = 1
    found = lines_of(attention_lines(weights, ["7", "f1", "="]))
    expected = {tuple(map(int, place)): weights[tuple(place)] for place in np.argwhere(weights > 0.02)}
    assert found.keys() == expected.keys()
    for place, share in expected.items():
        assert found[place] == pytest.approx((5 * share, share))


def test_dots_are_positions_by_layers_above_the_names_of_tokens():
    figure = attention_lines(np.full((3, 4, 4), 0.25), ["20", "f4", "f3", "99"], "A title")
    (axes,) = figure.axes
    dots = {tuple(dot) for dot in axes.collections[-1].get_offsets().tolist()}
    assert dots == {(position, layer) for position in range(4) for layer in range(4)}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["20", "f4", "f3", "99"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["input", "block 0", "block 1", "block 2"]
    assert axes.get_title(loc="left") == "A title"
    assert inside(figure)


def test_a_long_sequence_with_long_names_fits():
    assert inside(attention_lines(np.full((1, 40, 40), 1 / 40), ["a token"] * 40, "A title " * 5))


def test_each_block_is_a_panel_of_what_roles_see_of_each_other():
    flow = np.array([[[0.75, 0.25], [NAN, NAN]], [[0.5, 0.5], [0, 1]], [[1, 0], [NAN, NAN]]])
    figure = role_flow(flow, ["key", "first_anchor"], "A title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["block 0", "block 1", "block 2"]
    for axes, its in zip(figure.axes, flow, strict=True):
        np.testing.assert_array_equal(np.ma.filled(axes.images[0].get_array(), NAN), its)
        written = {text.get_position(): text.get_text() for text in axes.texts}
        assert written == {(x, y): f"{its[y, x]:.2f}" for y, x in np.argwhere(np.isfinite(its))}
        assert axes.images[0].get_clim() == (0, 1)
    assert inside(figure)


@pytest.mark.parametrize("shape", [(2, 3, 2), (0, 2, 2), (2, 2)])
def test_what_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match=r"weights .*: expected \(blocks, length, length\) for 2 tokens"):
        attention_lines(np.zeros(shape), ["a", "b"])
    with pytest.raises(ValueError, match=r"flow .*: expected \(blocks, roles, roles\) for 2 roles"):
        role_flow(np.zeros(shape), ["a", "b"])
