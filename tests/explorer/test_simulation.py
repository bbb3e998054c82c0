"""Panel 2 in the browser: particles move as the equations say, and every control does what it is named for."""

import numpy as np
import pytest

PLACES = "() => [...GrokExplorer.page.simulation.particles.positions]"
STEPS = "() => GrokExplorer.page.simulation.particles.steps"
SETTINGS = "() => GrokExplorer.page.simulation.settings"
STEP_AFTER = """([positions, settings]) => [...GrokExplorer.forces.step(
    Float64Array.from(positions), GrokExplorer.forces.pairsOf(positions.length / 2), settings)]"""
FORCE = """([positions, settings]) => [...GrokExplorer.forces.onTokens(
    Float64Array.from(positions), GrokExplorer.forces.pairsOf(positions.length / 2), settings)]"""
OUTPUTS = "() => [...document.querySelectorAll('#simulation output')].map((output) => output.textContent)"
DEFAULTS = {"beta": 1, "c": 1, "sigma": 0.5, "lambda": 0.02, "eta": 0.2, "kernel": "gaussian"}


def places(opened):
    return np.array(opened.js(PLACES))


def test_defaults(opened):
    assert opened.js(SETTINGS) == DEFAULTS
    assert len(places(opened)) == 2 * 17
    assert not opened.page.is_visible("#forces-of-run")
    assert opened.text("#origin") == "Started from random places, seed 0."
    assert opened.js(OUTPUTS) == ["1.00", "1.00", "0.50", "0.020", "0.20", "17", "1"]


def test_one_step(opened):
    """The force itself is checked in test_forces.py."""
    before = places(opened)
    force = np.array(opened.js(FORCE, [before.tolist(), DEFAULTS]))
    opened.page.click("#single-step")
    assert np.allclose(places(opened), before + 0.2 * (force - 0.02 * before), rtol=1e-12, atol=1e-12)
    assert opened.text("#particle-step") == "1"


def test_each_slider_changes_the_next_step(opened):
    for setting, value in [("beta", 3.0), ("c", 0.5), ("sigma", 1.2), ("lambda", 0.1), ("eta", 0.6)]:
        opened.page.fill(f"#{setting}", str(value))
        assert opened.js(SETTINGS)[setting] == value
    opened.page.select_option("#kernel", "rational")
    settings = {"beta": 3, "c": 0.5, "sigma": 1.2, "lambda": 0.1, "eta": 0.6, "kernel": "rational"}
    expected = opened.js(STEP_AFTER, [places(opened).tolist(), settings])
    opened.page.click("#single-step")
    assert opened.js(PLACES) == expected


def test_arrow_keys_move_a_slider(opened):
    opened.page.focus("#beta")
    opened.page.keyboard.press("ArrowRight")
    assert opened.js(SETTINGS)["beta"] == pytest.approx(1.05)


def test_modulus_and_seed_start_anew(opened):
    first = places(opened)
    opened.page.click("#single-step")
    opened.page.fill("#modulus", "12")
    assert (opened.js(STEPS), len(places(opened))) == (0, 24)
    opened.page.fill("#modulus", "17")
    assert np.array_equal(places(opened), first)
    opened.page.fill("#seed", "5")
    opened.page.press("#seed", "Enter")
    assert not np.array_equal(places(opened), first)
    opened.page.fill("#seed", "0")
    opened.page.press("#seed", "Enter")
    assert np.array_equal(places(opened), first)


def test_play_takes_the_same_steps_as_the_button_and_reset_goes_back(opened):
    first = places(opened)
    opened.page.fill("#pace", "5")
    opened.page.click("#simulation-play")
    opened.wait("GrokExplorer.page.simulation.particles.steps >= 20")
    opened.page.click("#simulation-play")
    taken, there = opened.js(STEPS), places(opened)
    assert taken % 5 == 0
    opened.page.click("#reset")
    assert np.array_equal(places(opened), first)
    for _ in range(taken):
        opened.js("() => document.getElementById('single-step').click()")
    assert np.array_equal(places(opened), there)


def test_space_plays_and_pauses_but_not_in_inputs(opened):
    opened.page.focus("#seed")
    opened.page.keyboard.press("Space")
    assert opened.text("#simulation-play") == "Play"
    opened.page.focus("#simulation")
    opened.page.keyboard.press("Space")
    opened.wait("GrokExplorer.page.simulation.particles.steps > 0")
    assert opened.js("() => GrokExplorer.page.training.player.playing") is False
    assert opened.page.get_attribute("#simulation-readouts", "aria-live") == "off"
    opened.page.keyboard.press("Space")
    assert opened.text("#simulation-play") == "Play"


def test_readouts(opened):
    opened.js("() => GrokExplorer.page.simulation.advance(300)")
    e = places(opened).reshape(17, 2)
    assert opened.text("#mean-norm") == f"{np.linalg.norm(e, axis=1).mean():.3g}"
    power = (np.abs(np.fft.fft(e, axis=0)) ** 2).sum(1)[1:9]
    assert opened.text("#purity") == f"{100 * power.max() / power.sum():.1f} %, k = {power.argmax() + 1}"
    first, second = np.triu_indices(17)
    sums, labels = e[first] + e[second], (first + second) % 17
    distances = np.linalg.norm(sums[:, None] - sums, axis=-1) + np.diag([np.inf] * len(sums))
    assert opened.text("#same-label") == f"{100 * np.mean(labels[distances.argmin(1)] == labels):.1f} %"


def test_points_are_drawn_in_their_colours(opened):
    opened.page.fill("#modulus", "3")
    for canvas, points in [("tokens", "positions"), ("sums", "sums")]:
        found = opened.js(
            f"""() => {{ const {{{canvas}: plot, particles}} = GrokExplorer.page.simulation;
            const pen = plot.canvas.getContext("2d"), half = plot.half, side = plot.canvas.width;
            const pixels = pen.getImageData(0, 0, side, side).data;
            const drawn = [...plot.shown.colours.keys()].map((point) => {{
                const [x, y] = [particles.{points}[2 * point], particles.{points}[2 * point + 1]];
                const at = [side / 2 * (1 + x / half), side / 2 * (1 - y / half)].map(Math.floor);
                const from = 4 * (at[1] * side + at[0]);
                return `rgb(${{[...pixels.slice(from, from + 3)]}})` }});
            return [drawn, plot.shown.colours, half] }}"""
        )
        drawn, colours, half = found
        assert drawn == colours
        assert half >= np.abs(places(opened)).max()


def test_blow_up_stops_and_says_so(opened):
    opened.js("() => { GrokExplorer.page.simulation.settings.eta = 1e200 }")
    opened.page.click("#simulation-play")
    opened.wait("document.getElementById('warning').textContent")
    assert "step size is too large" in opened.text("#warning")
    assert opened.text("#simulation-play") == "Play"
    assert np.isfinite(places(opened)).all()
    opened.page.fill("#eta", "0.1")
    opened.page.click("#reset")
    opened.page.click("#single-step")
    assert opened.text("#warning") == ""


def test_a_frame_is_sent_to_the_simulation(opened, exploration):
    run = exploration()
    opened.page.fill("#frame", "4")
    opened.page.click("#send")
    assert np.array_equal(places(opened).reshape(11, 2), run.positions[4, 0].astype(np.float64))
    assert opened.page.input_value("#modulus") == "11"
    assert opened.text("#origin") == "Started from step 600 of the run."
    assert opened.js("() => document.activeElement.id") == "simulation"


@pytest.mark.parametrize(("control", "value", "origin"), [("modulus", "12", "seed 0."), ("seed", "5", "seed 5.")])
def test_reset_returns_to_what_was_sent_until_modulus_or_seed_change(opened, exploration, control, value, origin):
    sent = exploration().positions[5, 0].astype(np.float64)
    opened.page.click("#send")
    for _ in range(2):
        opened.page.click("#single-step")
        assert not np.array_equal(places(opened), sent.ravel())
        opened.page.click("#reset")
        assert np.array_equal(places(opened).reshape(11, 2), sent)
        assert (opened.text("#particle-step"), opened.text("#origin")) == ("0", "Started from step 2,400 of the run.")
    opened.page.fill(f"#{control}", value)
    opened.page.press(f"#{control}", "Enter")
    opened.page.click("#reset")
    assert opened.text("#origin") == f"Started from random places, {origin}"
    n = 12 if control == "modulus" else 11
    expected = opened.js("([n, seed]) => [...GrokExplorer.particles.randomStart(n, seed)]", [n, int(origin[5])])
    assert opened.js(PLACES) == expected


def test_one_of_several_systems_is_sent(show, exploration):
    run = exploration(copies=3)
    opened = show(run)
    opened.page.select_option("#copy", label="2")
    opened.page.click("#send")
    assert np.array_equal(places(opened).reshape(11, 2), run.positions[-1, 1].astype(np.float64))
    assert opened.text("#origin") == "Started from step 2,400 of the run, simulation 2."


def test_sliders_begin_with_the_forces_of_the_run(show, exploration):
    """One value beyond each end of a slider, one between its steps, one that is among them."""
    forces = {"alignment": 7.0, "clustering": 0.3, "range": 0.02, "decay": 0.0133, "step_size": 0.2}
    opened = show(exploration(forces={**forces, "kernel": "rational"}))
    names = {"alignment": "beta", "clustering": "c", "range": "sigma", "decay": "lambda", "step_size": "eta"}
    expected = {names[name]: value for name, value in forces.items()} | {"kernel": "rational"}
    assert opened.js(SETTINGS) == expected
    assert {name: float(opened.page.input_value(f"#{name}")) for name in names.values()} | {
        "kernel": "rational"
    } == expected
    assert opened.js(OUTPUTS)[:5] == ["7.00", "0.30", "0.02", "0.0133", "0.20"]
    assert opened.page.input_value("#kernel") == "rational"
    assert opened.page.is_visible("#forces-of-run")
    opened.page.fill("#lambda", "0.1")
    assert opened.js(SETTINGS)["lambda"] == 0.1


def test_only_addition_is_sent(show, exploration):
    assert not show(exploration(is_addition=False)).page.is_visible("#send-choice")


def test_a_frame_that_is_not_finite_is_refused(show, exploration):
    positions = exploration().positions.copy()
    positions[-1, 0, 3] = np.nan
    opened = show(exploration(positions=positions))
    before = places(opened)
    opened.page.click("#send")
    assert "not finite" in opened.text("#warning")
    assert np.array_equal(places(opened), before)


def test_more_residues_than_the_simulation_takes(show, exploration):
    opened = show(exploration(n=37, class_map=None))
    assert opened.page.is_disabled("#send")
    assert opened.page.is_visible("#send-note")
    assert opened.text("#send-note") == "The simulation takes 3 to 31 residues; this run has 37."
