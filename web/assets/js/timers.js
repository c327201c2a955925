// timers.js: timers by name. A name has one at a time.

export class Timers {
  #running = new Map(); // name → id

  // onTimer(name) is called when one is over.
  constructor(onTimer) {
    this.onTimer = onTimer;
  }

  set(name, ms) {
    this.cancel(name);
    this.#running.set(name, setTimeout(() => {
      this.#running.delete(name);
      this.onTimer(name);
    }, ms));
  }

  // cancel cancels one, or all.
  cancel(name) {
    for (const [n, id] of this.#running) {
      if (name !== undefined && n !== name) continue;
      clearTimeout(id);
      this.#running.delete(n);
    }
  }
}
