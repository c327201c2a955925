// touch.js: fingers as a mouse. Gestures is the pure core: fingers in, mouse out.
//
//	tap               click
//	drag              drag with the left button
//	press and hold    right button, for as long as the finger stays
//	two fingers drag  wheel; pinching too, as most 3D apps zoom by wheel
//	two fingers tap   right click
//
// The left button goes down only when the finger has moved or was lifted, so
// that a finger which turns out to be the first of two has clicked nothing.

const SLOP = 9;          // px a finger may tremble
const HOLD_MS = 480;
const TAP_MS = 320;
const WHEEL_PER_PX = 2;  // 120ths a pixel

export class Gestures {
  // out has move(p), down(b, p), up(b, p), wheel(dx, dy, p), buzz(); later(fn, ms)
  // returns a function that cancels. Points are {x, y} of the page.
  constructor(out, later = (fn, ms) => { const id = setTimeout(fn, ms); return () => clearTimeout(id); }) {
    this.out = out;
    this.later = later;
    this.fingers = new Map();
    this.mode = 'none'; // none | undecided | drag | hold | two | spent
    this.cancel = () => {};
  }

  down(id, p, now) {
    this.fingers.set(id, p);
    this.cancel();
    if (this.fingers.size === 1) {
      this.mode = 'undecided';
      this.origin = p;
      this.began = now;
      this.cancel = this.later(() => this.#hold(), HOLD_MS);
      return;
    }
    if (this.fingers.size === 2 && this.mode !== 'spent') {
      this.#letGo(p);
      this.mode = 'two';
      this.began2 = now;
      this.travel = 0;
      this.last = this.#pair();
      this.out.move(this.last.middle);
      return;
    }
    this.#letGo(p);
    this.mode = 'spent';
  }

  move(id, p) {
    if (!this.fingers.has(id)) return;
    this.fingers.set(id, p);
    if (this.mode === 'undecided' && distance(p, this.origin) > SLOP) {
      this.cancel();
      this.mode = 'drag';
      this.out.down(0, this.origin);
    }
    if (this.mode === 'drag' || this.mode === 'hold') this.out.move(p);
    if (this.mode === 'two') this.#two();
  }

  up(id, p, now) {
    if (!this.fingers.delete(id)) return;
    this.cancel();
    if (this.mode === 'undecided') {
      this.out.down(0, this.origin);
      this.out.up(0, this.origin);
    } else if (this.mode === 'drag') {
      this.out.up(0, p);
    } else if (this.mode === 'hold') {
      this.out.up(2, p);
    } else if (this.mode === 'two' && this.travel < SLOP && now - this.began2 < TAP_MS) {
      this.out.down(2, this.last.middle);
      this.out.up(2, this.last.middle);
    }
    this.mode = this.fingers.size > 0 ? 'spent' : 'none';
  }

  reset() {
    this.cancel();
    this.#letGo(this.origin);
    this.fingers.clear();
    this.mode = 'none';
  }

  #hold() {
    if (this.mode !== 'undecided') return;
    this.mode = 'hold';
    this.out.buzz();
    this.out.down(2, this.origin);
  }

  #letGo(p) {
    if (this.mode === 'drag') this.out.up(0, p);
    if (this.mode === 'hold') this.out.up(2, p);
  }

  #pair() {
    const [a, b] = [...this.fingers.values()];
    return { middle: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 }, apart: distance(a, b) };
  }

  #two() {
    const pair = this.#pair();
    const dx = pair.middle.x - this.last.middle.x;
    const dy = pair.middle.y - this.last.middle.y;
    const spread = pair.apart - this.last.apart;
    this.travel += Math.max(Math.hypot(dx, dy), Math.abs(spread));
    // Fingers apart is towards the thing: wheel up. Dragging moves the content.
    const zoom = Math.abs(spread) > Math.hypot(dx, dy);
    if (zoom) this.out.wheel(0, -spread * WHEEL_PER_PX, pair.middle);
    else if (dx || dy) this.out.wheel(-dx * WHEEL_PER_PX, -dy * WHEEL_PER_PX, pair.middle);
    this.last = pair;
  }
}

const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);

// Touch feeds a surface's fingers to Gestures and what comes out to a Pointer.
export class Touch {
  constructor({ surface, pointer }) {
    Object.assign(this, { surface, pointer });
    this.abort = null;
  }

  start() {
    this.stop();
    this.abort = new AbortController();
    const { signal } = this.abort;
    const { pointer } = this;
    const at = (p) => {
      if (pointer.relative) return {};
      const { x, y } = pointer.place({ clientX: p.x, clientY: p.y });
      return { x, y };
    };
    let last = null;
    this.gestures = new Gestures({
      move: (p) => {
        if (pointer.relative) {
          const scale = pointer.display.width / pointer.rect().width;
          if (last) pointer.by((p.x - last.x) * scale, (p.y - last.y) * scale);
          last = p;
        } else {
          const { x, y } = at(p);
          pointer.at(x, y);
        }
      },
      // In a game a dragging finger looks around; only taps press.
      down: (b, p) => { last = p; if (!(pointer.relative && this.gestures.mode === 'drag')) pointer.button(true, b, at(p)); },
      up: (b, p) => { last = null; if (!(pointer.relative && this.gestures.mode === 'drag')) pointer.button(false, b, at(p)); },
      wheel: (dx, dy, p) => pointer.roll(dx, dy, at(p)),
      buzz: () => navigator.vibrate?.(12),
    });
    const feed = (handler) => (event) => {
      if (event.pointerType !== 'touch') return;
      event.preventDefault();
      handler(event.pointerId, { x: event.clientX, y: event.clientY }, event.timeStamp);
    };
    const on = (type, handler) => this.surface.addEventListener(type, handler, { signal });
    on('pointerdown', feed((id, p, now) => {
      this.surface.setPointerCapture?.(id);
      this.gestures.down(id, p, now);
    }));
    on('pointermove', feed((id, p) => this.gestures.move(id, p)));
    on('pointerup', feed((id, p, now) => this.gestures.up(id, p, now)));
    on('pointercancel', feed(() => this.gestures.reset()));
    // Safari makes mouse events of touches unless these are taken.
    this.surface.addEventListener('touchend', (e) => e.preventDefault(), { signal, passive: false });
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    this.gestures?.reset();
  }
}
