// movement.js: the motion of a locked mouse, without the spikes that browsers make of
// their own warps of the pointer. A spike is alone: far larger than the motion before
// it and the motion after it. Pure.

const FAR = 100;      // counts; less than that is never a spike
const TIMES = 10;     // how much larger than its neighbours
const BEFORE_MS = 150; // older motion is no neighbour
const AFTER_MS = 40;  // how long a suspicious motion waits for the next

export class Movement {
  // out(dx, dy) gets the motion; later(fn, ms) returns a function that cancels.
  constructor(out, later = (fn, ms) => { const id = setTimeout(fn, ms); return () => clearTimeout(id); }) {
    Object.assign(this, { out, later });
    this.reset();
  }

  reset() {
    this.cancel?.();
    this.cancel = null;
    this.held = null;
    this.recent = [];
  }

  add(dx, dy, now) {
    const size = Math.hypot(dx, dy);
    if (size === 0) return;
    this.#settle(size);
    this.recent = this.recent.filter(({ at }) => now - at < BEFORE_MS).slice(-4);
    const before = Math.max(0, ...this.recent.map((m) => m.size));
    if (size > FAR && before > 0 && size > TIMES * before) {
      this.held = { dx, dy, size, now };
      this.cancel = this.later(() => { this.held = null; }, AFTER_MS);
      return;
    }
    this.#pass({ dx, dy, size, now });
  }

  // #settle decides about the motion that waits, by the one after it.
  #settle(next) {
    const { held } = this;
    this.cancel?.();
    this.cancel = this.held = null;
    if (held && held.size <= TIMES * next) this.#pass(held); // the hand is that fast
  }

  #pass({ dx, dy, size, now }) {
    this.recent.push({ size, at: now });
    this.out(dx, dy);
  }
}
