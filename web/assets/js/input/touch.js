// touch.js: fingers. Where the app takes touches (wire.Display), Fingers tells the seat of
// each finger. Else, and while the app wants motion, they are a mouse: Gestures is its pure
// core, fingers in, mouse out.
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
const MAX = 10;          // fingers, as wire.MaxTouches
const COVERS = 100;      // px: a screen keyboard covers more, bars of the browser less
const TURN_MS = 500;     // how long a screen keyboard may be away while the device is turned

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
      this.origin = this.at = p;
      this.cancel = this.later(() => this.#hold(), HOLD_MS);
      return;
    }
    if (this.fingers.size === 2 && this.mode !== 'spent') {
      this.#letGo();
      this.mode = 'two';
      this.began2 = now;
      this.travel = 0;
      this.last = this.#pair();
      this.out.move(this.last.middle);
      return;
    }
    this.#letGo();
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
    if (this.mode === 'drag' || this.mode === 'hold') this.out.move(this.at = p);
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
    this.#letGo();
    this.fingers.clear();
    this.mode = 'none';
  }

  #hold() {
    if (this.mode !== 'undecided') return;
    this.mode = 'hold';
    this.out.buzz();
    this.out.down(2, this.origin);
  }

  // #letGo ends a drag where it is: not at the finger that ends it, nor where it began.
  #letGo() {
    if (this.mode === 'drag') this.out.up(0, this.at);
    if (this.mode === 'hold') this.out.up(2, this.at);
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

// Fingers tells the seat where each finger is: all of them on the reliable channel when one
// comes or goes, and once a frame on the other one while they move. Pure but for frames.
export class Fingers {
  // sink has send() and move(); place(p) maps a point of the page to the picture;
  // frame(fn) calls fn with the next picture, and returns a function that cancels.
  constructor({ sink, place, frame = (fn) => { const id = requestAnimationFrame(fn); return () => cancelAnimationFrame(id); } }) {
    Object.assign(this, { sink, place, frame });
    this.fingers = new Map(); // by the browser's number
    this.id = 0;    // of the last finger
    this.count = 0; // wire's N
    this.cancel = null;
    this.again = false; // they moved since the last frame
    this.loose = false; // they moved since they were last told on the reliable channel
  }

  down(id, p) {
    const { x, y, inside } = this.place(p);
    if (!inside || this.fingers.size >= MAX) return;
    this.id += 1;
    this.fingers.set(id, { i: this.id, x, y });
    this.#all();
  }

  move(id, p) {
    const finger = this.fingers.get(id);
    if (!finger) return;
    const { x, y } = this.place(p);
    if (finger.x === x && finger.y === y) return;
    Object.assign(finger, { x, y });
    this.loose = true;
    this.#soon();
  }

  up(id, p) {
    if (!this.fingers.has(id)) return;
    this.move(id, p);
    if (this.loose) this.#all(); // the last move may be lost
    this.fingers.delete(id);
    this.#all();
  }

  // gone lifts a finger that the browser took for itself.
  gone(id) {
    if (this.fingers.delete(id)) this.#all();
  }

  // reset lifts all fingers.
  reset() {
    if (this.fingers.size === 0) return;
    this.fingers.clear();
    this.#all();
  }

  get touches() { return [...this.fingers.values()].map((f) => ({ ...f })); }

  #all() {
    this.cancel?.();
    this.cancel = null;
    this.again = this.loose = false;
    // Moves that were sent before are older, however late they come.
    this.sink.send({ t: 'touch', touches: this.touches, seq: this.count });
  }

  // #soon sends the first move of a frame at once, and gathers the rest.
  #soon() {
    if (this.cancel) {
      this.again = true;
      return;
    }
    this.count += 1;
    this.sink.move({ t: 'touch', touches: this.touches, n: this.count });
    this.again = false;
    this.cancel = this.frame(() => {
      this.cancel = null;
      if (this.again) this.#soon();
      else if (this.loose) this.#all(); // they rest, and the last move may be lost
    });
  }
}

// ScreenKeyboard shows and hides the screen keyboard. Browsers show it for the field that has the
// focus, but not with inputMode 'none': with that the field has the focus all the time, so that a
// keyboard which is attached composes and pastes there.
export class ScreenKeyboard {
  // text is a TextField; viewport is a VisualViewport.
  constructor({ surface, text, viewport = globalThis.visualViewport }) {
    Object.assign(this, { surface, text, viewport });
    this.up = false; // it covers a part of the page
    this.waiting = 0;
    const { field } = text;
    // Where only the window has lost the focus, the screen keyboard comes back with it.
    field.addEventListener('blur', () => { if (surface.getRootNode().activeElement !== field) this.#gone(); });
  }

  start(signal) {
    if (!this.viewport) return;
    this.viewport.addEventListener('resize', () => this.#resized(), { signal });
    signal.addEventListener('abort', () => clearTimeout(this.waiting));
    this.#resized(); // the person may have closed it meanwhile
  }

  // toggle is called from a click. Browsers heed a change of inputMode with the focus that comes after it.
  toggle() {
    const { surface, text: { field } } = this;
    const shown = field.inputMode === 'text';
    surface.focus({ preventScroll: true });
    if (!shown) {
      field.inputMode = 'text';
      field.focus({ preventScroll: true }); // at once: later it would not be of the click
      return;
    }
    this.#gone();
    requestAnimationFrame(() => this.text.focus()); // Safari shows it again where both are in one frame
  }

  // #resized notices that the person has closed it by a key of its own, of which browsers say nothing.
  #resized() {
    const { height, scale } = this.viewport;
    clearTimeout(this.waiting);
    if (document.documentElement.clientHeight - height * scale > COVERS) this.up = true;
    else if (this.up) this.waiting = setTimeout(() => this.#gone(), TURN_MS);
  }

  #gone() {
    clearTimeout(this.waiting);
    this.up = false;
    const { field } = this.text;
    if (field.inputMode) field.inputMode = 'none'; // without any, no keyboard is on this device's screen
  }
}

// Touch feeds a surface's fingers to Fingers, or to Gestures and what comes out to a Pointer.
export class Touch {
  // text is a TextField; onFinger() is called at the first finger of a device that did not say that it takes any.
  constructor({ surface, pointer, text, sink, onFinger }) {
    Object.assign(this, { surface, pointer, text, sink, onFinger });
    this.keys = new ScreenKeyboard({ surface, text });
    this.abort = null;
  }

  // start is called with the grant's display.
  start(display) {
    this.stop();
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.keys.start(signal);
    const { pointer, text, text: { keyboard } } = this;
    const at = (p) => {
      if (pointer.relative) return {};
      const { x, y } = pointer.place({ clientX: p.x, clientY: p.y });
      return { x, y };
    };
    this.fingers = new Fingers({ sink: this.sink, place: (p) => pointer.place({ clientX: p.x, clientY: p.y }) });
    let last = null;
    let pressed = false; // the drag has pressed: the app may begin or end to want motion in it
    this.gestures = new Gestures({
      move: (p) => {
        if (pointer.relative) {
          const scale = (pointer.video.videoWidth || pointer.display.width) / pointer.rect().width;
          if (last) pointer.by((p.x - last.x) * scale, (p.y - last.y) * scale);
        } else {
          const { x, y } = at(p);
          pointer.at(x, y);
        }
        last = p;
      },
      // In a game a dragging finger looks around; only taps press.
      down: (b, p) => {
        last = p;
        pressed = !(pointer.relative && this.gestures.mode === 'drag');
        if (pressed) pointer.button(true, b, at(p));
      },
      up: (b, p) => {
        last = null;
        if (pressed) pointer.button(false, b, at(p));
        pressed = false;
      },
      wheel: (dx, dy, p) => pointer.roll(dx, dy, at(p)),
      buzz: () => navigator.vibrate?.(12),
    });
    // Fingers use what is at the keyboard, as clicks do. Their events may lack what is held there.
    const use = (event) => {
      keyboard.ready();
      keyboard.clipboard?.next(event);
    };
    const feed = (handler, used) => (event) => {
      if (event.pointerType !== 'touch') return;
      event.preventDefault();
      if (used) use(event);
      handler(event.pointerId, { x: event.clientX, y: event.clientY }, event.timeStamp);
    };
    const on = (type, handler) => this.surface.addEventListener(type, handler, { signal });
    on('pointerdown', feed((id, p, now) => {
      this.surface.setPointerCapture?.(id);
      text.place({ clientX: p.x, clientY: p.y });
      if (!text.field.inputMode) {
        text.field.inputMode = 'none'; // a finger asks for no screen keyboard
        this.onFinger();
      }
      text.focus();
      if (display.touch && !pointer.relative) this.fingers.down(id, p);
      else this.gestures.down(id, p, now);
    }, true));
    // Each knows the fingers that came down while it was in charge.
    on('pointermove', feed((id, p) => { this.fingers.move(id, p); this.gestures.move(id, p); }));
    on('pointerup', feed((id, p, now) => { this.fingers.up(id, p); this.gestures.up(id, p, now); }, true));
    on('pointercancel', feed((id) => { this.fingers.gone(id); this.gestures.reset(); }));
    // The browser may tell nothing of fingers that are lifted elsewhere.
    window.addEventListener('blur', () => this.reset(), { signal });
    document.addEventListener('visibilitychange', () => { if (document.hidden) this.reset(); }, { signal });
    // Safari makes mouse events of touches unless these are taken.
    this.surface.addEventListener('touchend', (e) => e.preventDefault(), { signal, passive: false });
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    this.reset();
  }

  // reset lifts all fingers.
  reset() {
    this.fingers?.reset();
    this.gestures?.reset();
  }
}
