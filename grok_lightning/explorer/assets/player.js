/** Plays and pauses a panel, by its button or by Space. */
(function (explorer) {
  "use strict";

  const KEEPS_SPACE = "input, select, textarea, button, summary, a, [contenteditable]";

  /** Calls `advance` again and again while it plays, until that returns false. */
  class Player {
    /**
     * @param {HTMLElement} panel where Space plays and pauses, unless something in it takes keys itself
     * @param {HTMLButtonElement} button
     * @param {HTMLElement} readouts silent while it plays: a screen reader could not keep up
     * @param {() => boolean} advance
     * @param {number} interval milliseconds between two calls at least
     */
    constructor(panel, button, readouts, advance, interval = 0) {
      Object.assign(this, { button, readouts, advance, interval, playing: false, last: -Infinity });
      button.addEventListener("click", () => this.toggle());
      panel.addEventListener("keydown", (event) => {
        const held = event.ctrlKey || event.altKey || event.metaKey || event.repeat;
        if (event.key !== " " || held || event.target.closest(KEEPS_SPACE)) return;
        event.preventDefault();
        this.toggle();
      });
      this.show();
    }

    toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    play() {
      if (this.playing || this.button.disabled) return;
      this.playing = true;
      this.show();
      this.wait();
    }

    pause() {
      this.playing = false;
      cancelAnimationFrame(this.request);
      this.show();
    }

    wait() {
      this.request = requestAnimationFrame((now) => this.tick(now));
    }

    tick(now) {
      if (now - this.last >= this.interval) {
        this.last = now;
        if (!this.advance()) return this.pause();
      }
      this.wait();
    }

    show() {
      this.button.textContent = this.playing ? "Pause" : "Play";
      this.readouts.setAttribute("aria-live", this.playing ? "off" : "polite");
    }
  }

  explorer.player = { Player };
})((globalThis.GrokExplorer ??= {}));
