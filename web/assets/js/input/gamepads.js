// gamepads.js: the person's gamepads go to the app while the page has the focus, four at
// most, as the standard gamepad of browsers. The app's rumble shakes them.
//
// A press may not be lost, so it goes on the reliable channel. Motion of sticks and
// triggers goes on the one without repeats, and once more, reliably, when it has ended.

const PADS = 4;
const REST_MS = 100;   // without change: the motion has ended
const MOVING_MS = 250; // after that, less than NOISE is none: it would keep an idle session alive
const NOISE = 400;     // of 32768; sticks tremble by 1 %
const TRIGGER_NOISE = 3; // of 255
const SHAKE_MS = 5000; // the longest effect that browsers play
const STICKS = ['lx', 'ly', 'rx', 'ry'];
const TRIGGERS = ['lt', 'rt'];
const BITS = 0x1ffff & ~0xc0; // wire.PadButtons: the triggers, 6 and 7, have no bit

// padState is the state of a Gamepad, without its index, as in wire.Pad.
export function padState({ axes, buttons }) {
  const stick = (v = 0) => Math.max(-32768, Math.min(32767, Math.round(v * 32768))) || 0;
  const trigger = (b) => Math.max(0, Math.min(255, Math.round((b?.value ?? 0) * 255))) || 0;
  const state = { b: buttons.slice(0, 17).reduce((bits, { pressed }, n) => (pressed ? bits | 1 << n : bits), 0) & BITS };
  STICKS.forEach((name, n) => { state[name] = stick(axes[n]); });
  TRIGGERS.forEach((name, n) => { state[name] = trigger(buttons[6 + n]); });
  return state;
}

const STILL = padState({ axes: [], buttons: [] });

export class Gamepads {
  // sink has send(), and move(), which gives false where it had to drop the message;
  // later(fn, ms) returns a function that cancels.
  constructor({ sink, list = () => navigator.getGamepads?.() ?? [], now = () => performance.now(),
    later = (fn, ms) => { const id = setTimeout(fn, ms); return () => clearTimeout(id); }, focused = () => document.hasFocus() && !document.hidden }) {
    Object.assign(this, { sink, list, now, later, focused });
    this.slots = Array(PADS).fill(null); // {index: the browser's, sent, n, at, resting}
    this.shaking = Array(PADS).fill(null);
    this.abort = null;
    this.frame = 0;
  }

  // start is called when the app may get gamepads.
  start() {
    this.stop();
    this.abort = new AbortController();
    const { signal } = this.abort;
    const leave = () => this.release();
    window.addEventListener('gamepadconnected', () => this.#run(), { signal });
    window.addEventListener('gamepaddisconnected', () => this.look(), { signal });
    window.addEventListener('focus', () => this.#run(), { signal });
    window.addEventListener('blur', leave, { signal });
    window.addEventListener('pagehide', leave, { signal });
    document.addEventListener('visibilitychange', () => (document.hidden ? leave() : this.#run()), { signal });
    this.begin();
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.slots.fill(null);
    for (const n of this.shaking.keys()) this.#still(n);
  }

  // resume goes on after release, when the person is back.
  resume() {
    this.#run();
  }

  // begin tells a seat that knows nothing of this page.
  begin() {
    if (!this.abort) return;
    this.slots.fill(null);
    this.#assign();
    this.sink.send({ t: 'pads', pads: this.#bits(), p: true });
    this.#run();
  }

  // release lets go of everything: the app does not have the person's hands.
  release() {
    this.slots.forEach((slot, i) => {
      if (slot && !same(slot.sent, STILL)) this.#send(i, slot, STILL, true);
    });
  }

  // look sends what changed.
  look() {
    const pads = this.#pads();
    const before = this.#bits();
    this.#assign(pads);
    if (this.#bits() !== before) this.sink.send({ t: 'pads', pads: this.#bits() });
    if (!this.focused()) return;
    this.slots.forEach((slot, i) => {
      const pad = slot && pads.find(({ index }) => index === slot.index);
      if (pad) this.#follow(i, slot, padState(pad));
    });
  }

  // rumble takes a wire.Rumble.
  rumble({ i, strong, weak, ms }) {
    const slot = this.slots[i];
    const actuator = slot && this.#pads().find(({ index }) => index === slot.index)?.vibrationActuator;
    this.#still(i);
    if (!actuator?.playEffect || ms <= 0 || !this.abort) return;
    const until = this.now() + ms;
    const play = () => {
      const duration = Math.min(SHAKE_MS, until - this.now());
      if (duration <= 0) return;
      const effect = { duration, strongMagnitude: strong / 65535, weakMagnitude: weak / 65535 };
      Promise.resolve(actuator.playEffect('dual-rumble', effect)).catch(() => {}); // it cannot
      this.shaking[i] = { actuator, cancel: this.later(play, duration) };
    };
    play();
  }

  #still(i) {
    const shaking = this.shaking[i];
    if (!shaking) return;
    this.shaking[i] = null;
    shaking.cancel();
    Promise.resolve(shaking.actuator.reset?.()).catch(() => {});
  }

  #follow(i, slot, state) {
    const { sent } = slot;
    if (state.b !== sent.b) return void this.#send(i, slot, state, true);
    const now = this.now();
    const fine = now - slot.at < MOVING_MS;
    const moved = (name, noise) => state[name] !== sent[name] && (fine || state[name] === 0 || Math.abs(state[name] - sent[name]) > noise);
    if (STICKS.some((name) => moved(name, NOISE)) || TRIGGERS.some((name) => moved(name, TRIGGER_NOISE))) {
      this.#send(i, slot, state, false);
    } else if (!slot.resting && now - slot.at > REST_MS) {
      this.#send(i, slot, state, true);
    }
  }

  #send(i, slot, state, reliable) {
    const message = { t: 'pad', pad: { i, ...state }, n: slot.n + 1 };
    if (!reliable && this.sink.move(message) === false) return; // the next frame tries again
    if (reliable) this.sink.send(message);
    if (!same(state, slot.sent)) slot.at = this.now();
    Object.assign(slot, { sent: state, n: slot.n + 1, resting: reliable });
  }

  #pads() {
    try {
      return [...this.list()].filter((pad) => pad?.connected && pad.buttons.length >= 4 && pad.axes.length >= 2);
    } catch {
      return []; // the page that embeds this one does not allow it
    }
  }

  // #assign gives each gamepad a place, which it keeps until it goes.
  #assign(pads = this.#pads()) {
    this.slots.forEach((slot, i) => {
      if (slot && !pads.some(({ index }) => index === slot.index)) this.slots[i] = null;
    });
    for (const { index } of pads) {
      const free = this.slots.indexOf(null);
      if (free < 0 || this.slots.some((slot) => slot?.index === index)) continue;
      this.slots[free] = { index, sent: STILL, n: 0, at: -Infinity, resting: true };
    }
  }

  #bits() {
    return this.slots.reduce((bits, slot, i) => (slot ? bits | 1 << i : bits), 0);
  }

  // #run looks once in each frame, as long as there is a gamepad and the page has the focus.
  #run() {
    if (!this.abort || this.frame) return;
    this.look();
    if (this.#bits() === 0 || !this.focused()) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.#run();
    });
  }
}

const same = (a, b) => a.b === b.b && [...STICKS, ...TRIGGERS].every((name) => a[name] === b[name]);
