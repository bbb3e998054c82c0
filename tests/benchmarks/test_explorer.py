"""How many frames a second the particle simulation of the explorer page shows, and what one of them costs."""

import numpy as np
import pytest

from grok_lightning.explorer.exploration import Exploration
from grok_lightning.explorer.page import render

BAR, SECONDS, PARTICLES = 30, 4, (17, 31)

PLAYED = """async ([n, seconds]) => {
    const {simulation} = GrokExplorer.page;
    document.getElementById("modulus").value = n;
    simulation.reset();
    simulation.player.play();
    const start = performance.now();
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    simulation.player.pause();
    return simulation.particles.steps / (performance.now() - start) * 1000;
}"""
"""Frames a second: a frame is a step and both plots."""

WORK = """(count) => {
    const start = performance.now();
    for (let frame = 0; frame < count; frame++) GrokExplorer.page.simulation.advance(1);
    return (performance.now() - start) / count;
}"""
"""Milliseconds of script in a frame."""

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    file = tmp_path_factory.mktemp("explorer") / "page.html"
    file.write_text(render(Exploration("", ["0"], [0], np.zeros((1, 1, 1, 2)), ("", ""))), encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(file.as_uri())
        page.locator("#simulation").scroll_into_view_if_needed()
        yield page


def test_frames_of_the_simulation(page, capsys):
    found = {n: (page.evaluate(PLAYED, [n, SECONDS]), page.evaluate(WORK, 100)) for n in PARTICLES}
    with capsys.disabled():
        print()
        for n, (frames, work) in found.items():
            print(f"{n} particles: {frames:.1f} frames a second, {work:.1f} ms of script in each")
    assert found[17][0] >= BAR
