"""A small made-up run, and a browser to look at its page."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from grok_lightning.explorer.page import ClassMap, Exploration, Pairs, render

MODULUS, RESOLUTION = 11, 24
STEPS = [0, 10, 40, 150, 600, 2400]
PATIENCE = 20_000  # in milliseconds
BACK = """() => {
    const {training, simulation} = GrokExplorer.page;
    training.player.pause();
    for (const input of document.querySelectorAll("main input")) {
        input.value = input.defaultValue;
        input.checked = input.defaultChecked;
    }
    for (const select of document.querySelectorAll("main select")) select.selectedIndex = 0;
    for (const control of document.querySelectorAll("main input, main select")) {
        for (const change of ["input", "change"]) control.dispatchEvent(new Event(change));
    }
    simulation.reset();
    document.activeElement.blur();
    scrollTo(0, 0);
}"""
"""Every control as it was at first, and the simulation at its start."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


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


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A headless Chromium of the system."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser to test the page in: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass
class Opened:
    """A page in the browser, and what it asked for and complained of."""

    page: object
    url: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

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


def open_page(browser: object, path: Path, run: Exploration, **context: object) -> Opened:
    path.write_text(render(run), encoding="utf-8")
    opened = Opened(browser.new_page(**context), path.as_uri())
    opened.page.set_default_timeout(PATIENCE)
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.on("console", lambda message: opened.complaints.append(message.text))
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.goto(opened.url)
    opened.settle()
    return opened


@pytest.fixture
def show(browser: object, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Open the page of a run."""
    pages: list[Opened] = []

    def show_run(run: Exploration, **context: object) -> Opened:
        pages.append(open_page(browser, tmp_path / f"explorer_{len(pages)}.html", run, **context))
        return pages[-1]

    yield show_run
    for opened in pages:
        opened.check()
        opened.page.close()


@pytest.fixture(scope="module")
def page_of_the_run(browser: object, tmp_path_factory: pytest.TempPathFactory, exploration: Callable) -> Opened:
    """One page for all tests of a module; `opened` brings it back to its beginning."""
    return open_page(browser, tmp_path_factory.mktemp("explorer") / "explorer.html", exploration())


@pytest.fixture
def opened(page_of_the_run: Opened) -> Iterator[Opened]:
    """The page of the run as it is in the beginning; reading it anew for every test would take seconds each."""
    page_of_the_run.js(BACK)
    page_of_the_run.settle()
    yield page_of_the_run
    page_of_the_run.check()
