"""A small made-up run, and a browser to look at its page."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from grok_lightning.explorer.exploration import ClassMap, Exploration, Pairs
from grok_lightning.explorer.page import render

MODULUS, RESOLUTION = 11, 24
STEPS = [0, 10, 40, 150, 600, 2400]
PATIENCE = 20_000  # in milliseconds
DESKTOP = {"width": 1280, "height": 720}
REPLACE = """(text) => {
    const {training, simulation} = GrokExplorer.page;
    for (const {player} of [training, simulation]) player.pause();
    document.querySelectorAll(".js-plotly-plot").forEach(Plotly.purge);
    const fresh = new DOMParser().parseFromString(text, "text/html");
    document.title = fresh.title;
    for (const part of ["header", "main", "#run"]) {
        document.querySelector(part).replaceWith(fresh.querySelector(part));
    }
    scrollTo(0, 0);
    GrokExplorer.start();
}"""
"""Another page in place of the one that is open, all but its scripts, which begin anew."""


def circle(n: int, frequency: int = 1) -> np.ndarray:
    angles = 2 * np.pi * frequency * np.arange(n) / n
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def nearest_class(positions: np.ndarray, pairs: Pairs, half: float) -> np.ndarray:
    """Return the label of the nearest pair sum at each place of the square."""
    sums = positions[pairs.first] + positions[pairs.second]
    places = np.linspace(-half, half, RESOLUTION)
    grid = np.stack(np.meshgrid(places, places), -1)
    nearest = np.linalg.norm(grid[:, :, None] - sums, axis=-1).argmin(-1)
    return np.asarray(pairs.label)[nearest].astype(np.uint8)


def all_pairs(n: int) -> Pairs:
    first, second = np.triu_indices(n)
    held_out = np.random.default_rng(1).random(len(first)) < 0.3
    return Pairs(first.tolist(), second.tolist(), ((first + second) % n).tolist(), held_out.tolist())


@pytest.fixture(scope="session")
def exploration() -> Callable[..., Exploration]:
    """Make a run that goes from noise to a small circle; what is given replaces its own."""

    def make(n: int = MODULUS, copies: int = 1, steps: list[int] = STEPS, **given: object) -> Exploration:
        rng = np.random.default_rng(0)
        order = np.linspace(0, 1, len(steps)).reshape(-1, 1, 1, 1)
        noise = rng.normal(size=(len(steps), copies, n, 2))
        positions = ((1 - order) * noise + order * 0.3 * circle(n, 2)).astype(np.float32)
        power = (np.abs(np.fft.rfft(positions, axis=2)) ** 2).sum(-1)[:, :, 1:]
        pairs = all_pairs(n)
        half = (2.1 * np.abs(positions).max((1, 2, 3))).astype(np.float32)
        maps = np.stack([nearest_class(*at) for at in zip(positions[:, 0], [pairs] * len(steps), half, strict=True)])
        every = np.unique(np.concatenate([[0], np.geomspace(1, max(steps[-1], 2), 40).astype(int)]))
        fall = 1 / (1 + every / 100)
        fields = {
            "title": "A run",
            "subtitle": "made up for the tests",
            "names": [str(token) for token in range(n)],
            "are_residues": True,
            "is_addition": True,
            "steps": steps,
            "positions": positions,
            "axes": ("component 1", "component 2"),
            "plane_share": rng.uniform(0.5, 1, (len(steps), copies)).astype(np.float32),
            "spectrum": (power / power.sum(-1, keepdims=True)).astype(np.float32),
            "pairs": pairs,
            "class_map": ClassMap(maps, half) if copies == 1 else None,
            "series": {
                "train/loss": (every.tolist(), (2.4 * fall**2).tolist()),
                "val/loss": (every[::2].tolist(), (3 * (1 - (1 - fall) ** 3) + 1e-3)[::2].tolist()),
                "train/accuracy": (every.tolist(), (1 - fall**2).tolist()),
                "val/accuracy": (every[::2].tolist(), ((1 - fall) ** 3)[::2].tolist()),
                "structure/purity": (every.tolist(), (1 - 0.8 * fall).tolist()),
                "forces/explained": (every.tolist(), (0.9 - 0.5 * fall).tolist()),
                "features/circulant": (every.tolist(), fall.tolist()),
            },
            "results": {"sustained_at": 600, "structure": "circle", "never": None, "ratio": 0.25},
            "notes": ["Frames are kept at six steps; more of them: `every_n_steps`."],
        }
        return Exploration(**(fields | given))

    return make


@pytest.fixture(scope="package")
def browser(chromium: Callable) -> Iterator[object]:
    """One browser for all tests of the page."""
    with chromium() as started:
        yield started


@dataclass
class Opened:
    """A page in the browser, and what it asked for and complained of."""

    page: object
    url: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def replace(self, run: Exploration) -> None:
        """Show another run. Reading Plotly anew would take seconds."""
        text = render(run)
        self.settle()  # nothing of the old one is drawn into the new
        self.js(REPLACE, text[: text.index("<script>")])
        self.settle()

    def js(self, script: str, *arguments: object) -> object:
        return self.page.evaluate(script, *arguments)

    def settle(self) -> None:
        """Wait until what changed has been drawn."""
        self.js("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def wait(self, condition: str) -> None:
        """Wait until a condition holds. (Playwright's own way evaluates text, which the page forbids.)"""
        self.js(
            f"""async () => {{ const end = performance.now() + {PATIENCE};
            while (!({condition})) {{
                if (performance.now() > end) throw new Error("it never came true");
                await new Promise(requestAnimationFrame); }} }}"""
        )

    def text(self, selector: str) -> str:
        return self.page.text_content(selector)

    def check(self) -> None:
        """The page has asked for nothing but itself, and complained of nothing."""
        asked = [url for url in self.requests if not url.startswith(("data:", "blob:"))]
        assert (asked, self.complaints) == ([self.url], [])


def open_page(browser: object, path: Path, run: Exploration) -> Opened:
    path.write_text(render(run), encoding="utf-8")
    opened = Opened(browser.new_page(viewport=DESKTOP), path.as_uri())
    opened.page.set_default_timeout(PATIENCE)
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.on("console", lambda message: opened.complaints.append(message.text))
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.goto(opened.url)
    opened.settle()
    return opened


@pytest.fixture
def fresh(browser: object, tmp_path: Path, exploration: Callable) -> Iterator[Opened]:
    """The page of the run, read from its file as a reader would."""
    opened = open_page(browser, tmp_path / "explorer.html", exploration())
    yield opened
    opened.check()
    opened.page.close()


@pytest.fixture(scope="package")
def shared(browser: object, tmp_path_factory: pytest.TempPathFactory, exploration: Callable) -> Opened:
    """One page for all tests, whatever it shows."""
    return open_page(browser, tmp_path_factory.mktemp("explorer") / "explorer.html", exploration())


@pytest.fixture
def show(shared: Opened) -> Iterator[Callable[..., Opened]]:
    """Show a run on the shared page."""

    def show_run(run: Exploration) -> Opened:
        shared.replace(run)
        return shared

    yield show_run
    shared.check()
    shared.page.set_viewport_size(DESKTOP)


@pytest.fixture
def opened(show: Callable, exploration: Callable) -> Opened:
    """The page of the run as it is when it has just been opened: at the last frame."""
    return show(exploration())
