// pointer.js: a mouse or pen over the picture. Where the app wants positions,
// moves go by the unreliable channel, at most one an animation frame, and each
// button carries its own position on the reliable one. Where the app grabs the
// mouse (a game), the pointer is locked and motion goes as differences, with the sum of all,
// which makes good what was lost. After the last move nothing comes that would: so it goes by the
// reliable channel too, once the pointer rests. The seat says
// what the app wants (wire.Pointer), and which cursor it shows, which is drawn here: so
// it moves without the stream's delay.

import { notches, pictureRect, toPicture } from './geometry.js';
import { isMac } from './keyboard.js';
import { Movement } from './movement.js';

const REST_MS = 50; // without a move

export class Pointer {
  // surface takes the events; video has the picture's size; sink has send()
  // and move(); onLock(locked) is called when the mouse is locked or released,
  // onUse(event) before a button or the wheel is used, and onMode() when the app begins
  // or ends to want motion. used() says whether the person uses this player: else the app gets the
  // mouse with a click alone. Without draws, the cursor is in the picture.
  constructor({ surface, video, sink, used, onLock, onUse, onMode, draws }) {
    Object.assign(this, { surface, video, sink, used, onLock, onUse, onMode, draws });
    this.movement = new Movement((dx, dy) => this.by(dx, dy));
    this.relative = false;
    this.display = null;
    this.count = 0;      // wire's N
    this.sum = [0, 0];   // all motion until now
    this.last = null;    // a move that may be lost: it is sent once more
    this.rest = 0;       // when the timer rings
    this.held = new Set();
    this.next = null;    // the move that waits for the frame
    this.wheel = null;
    this.frame = 0;
    this.abort = null;
  }

  start(display) {
    this.stop();
    this.display = display;
    this.relative = display.pointer === 'relative';
    this.abort = new AbortController();
    const on = (target, type, handler, options = {}) =>
      target.addEventListener(type, handler.bind(this), { signal: this.abort.signal, ...options });
    on(this.surface, 'pointermove', this.#moved);
    // Buttons come as mouse events: pointerdown reports only the first of several.
    // touch.js takes fingers.
    on(this.surface, 'pointerdown', this.#follow);
    on(this.surface, 'mousedown', this.#pressed);
    on(window, 'mouseup', this.#released);
    on(this.surface, 'wheel', this.#rolled, { passive: false });
    on(this.surface, 'contextmenu', (e) => e.preventDefault());
    on(this.surface, 'auxclick', (e) => e.preventDefault());
    on(this.surface, 'dragstart', (e) => e.preventDefault());
    on(document, 'pointerlockchange', this.#lockChanged);
    on(this.video, 'resize', this.#draw);
    on(this.surface, 'pointerenter', this.#draw);
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    clearTimeout(this.rest);
    this.last = this.next = this.wheel = null;
    this.movement.reset();
    this.shape = null;
    this.surface.style.cursor = '';
    this.held.clear();
    if (this.locked) document.exitPointerLock();
  }

  // told takes a wire.Pointer.
  told(pointer) {
    if (!this.display) return;
    this.shape = pointer;
    this.#draw();
    const { relative = false } = pointer;
    if (this.display.pointer !== 'auto' || relative === this.relative) return;
    this.relative = relative;
    this.last = this.next = null;
    this.movement.reset();
    if (relative) {
      if (this.used()) this.capture();
    } else if (this.locked) {
      document.exitPointerLock();
    }
    this.onMode();
  }

  // #draw draws the app's cursor as large as the picture is.
  #draw() {
    if (!this.draws || !this.shape) return;
    const { hidden, image, x = 0, y = 0 } = this.shape;
    const { style } = this.surface;
    style.cursor = hidden ? 'none' : 'default';
    if (hidden || !image) return;
    const k = this.video.videoWidth / this.rect().width || 1; // pixels of the app for one of the page
    style.cursor = `image-set(url(data:image/png;base64,${image}) ${k}x) ${x / k} ${y / k}, default`;
  }

  get locked() {
    return this.surface.getRootNode().pointerLockElement === this.surface; // a shadow root knows what is locked in it
  }

  // place maps a page position to the picture.
  place(event) {
    const box = this.surface.getBoundingClientRect();
    return toPicture(this.rect(box), event.clientX, event.clientY);
  }

  rect(box = this.surface.getBoundingClientRect()) {
    return pictureRect(box, this.video.videoWidth || this.display?.width, this.video.videoHeight || this.display?.height);
  }

  // at sends the pointer to a position of the picture, coalescing.
  at(x, y) {
    this.next = { t: 'move', x, y };
    this.#soon();
  }

  // by moves the pointer by a difference in display pixels.
  by(dx, dy) {
    const { dx: x = 0, dy: y = 0 } = this.next ?? {};
    this.next = { t: 'rel', dx: x + dx, dy: y + dy };
    this.sum[0] += dx;
    this.sum[1] += dy;
    this.#soon();
  }

  button(pressed, b, at) {
    // The button has its position: a move that still waits would only come after it, and one that was sent may (n).
    if (this.next?.t === 'move') this.next = null;
    else this.#flush();
    this.last = null; // the button says where it is
    this.sink.send({ t: pressed ? 'down' : 'up', b, ...at, n: this.count, ...(this.relative && this.#sum()) });
  }

  // settle is called before keys, text and fingers, which are meant for where the pointer is.
  settle() {
    this.#flush();
    if (this.last) this.sink.send(this.last);
    this.last = null;
  }

  roll(dx, dy, at) {
    this.wheel = { dx: (this.wheel?.dx ?? 0) + dx, dy: (this.wheel?.dy ?? 0) + dy, at };
    this.#soon();
  }

  capture() {
    if (!this.relative || this.locked) return;
    // Raw motion where the platform has it; acceleration is up to the app.
    const request = this.surface.requestPointerLock?.({ unadjustedMovement: true });
    request?.catch?.(() => this.surface.requestPointerLock()?.catch?.(() => {}));
  }

  #moved(event) {
    if (event.pointerType === 'touch') return;
    if (this.relative) {
      if (!this.locked) return;
      // A count of the mouse is a pixel of the app, whatever the size of the player.
      for (const e of motions(event)) this.movement.add(e.movementX, e.movementY, e.timeStamp);
      return;
    }
    const { x, y, inside } = this.place(event);
    if (inside || this.held.size > 0) this.at(x, y);
  }

  // #follow keeps the moves of a drag that leaves the window.
  #follow(event) {
    if (event.pointerType !== 'touch' && !this.relative) this.surface.setPointerCapture?.(event.pointerId);
  }

  #pressed(event) {
    event.preventDefault();
    this.onUse(event);
    if (this.relative && !this.locked) {
      this.capture();
      return; // this click was for the page
    }
    const at = this.#here(event);
    if (!at) return;
    this.held.add(event.button);
    this.button(true, event.button, at);
  }

  #released(event) {
    if (!this.held.delete(event.button)) return;
    event.preventDefault();
    this.button(false, event.button, this.#here(event, true));
  }

  // #here is the event's position as wire has it: none where motion is
  // relative, null beside the picture unless clamped to it.
  #here(event, clamped = false) {
    if (this.relative) return {};
    const { x, y, inside } = this.place(event);
    return inside || clamped ? { x, y } : null;
  }

  #rolled(event) {
    event.preventDefault();
    this.onUse(event);
    const { dx, dy } = notches(event, isMac());
    const at = this.#here(event);
    if (at && (dx || dy)) this.roll(dx, dy, at);
  }

  #lockChanged() {
    // Where the app gave the mouse back, a button that is held stays so.
    if (!this.locked && this.relative) this.held.clear();
    this.onLock(this.locked);
  }

  // #soon sends the first move of a frame at once and gathers the rest.
  #soon() {
    if (this.frame) return;
    this.#flush();
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (this.next || this.wheel) this.#soon();
    });
  }

  // #sum makes good what the line lost of the motion before.
  #sum() { return { sum: this.sum.map(round2) }; }

  #flush() {
    if (this.next) {
      const { t, dx, dy } = this.next;
      this.count += 1;
      const move = { ...this.next, ...(t === 'rel' && { dx: round2(dx), dy: round2(dy), ...this.#sum() }), n: this.count };
      this.sink.move(move);
      this.last = move;
      clearTimeout(this.rest);
      this.rest = setTimeout(() => this.next || this.settle(), REST_MS);
      this.next = null;
    }
    if (this.wheel) {
      const { dx, dy, at } = this.wheel;
      this.sink.send({ t: 'wheel', dx: round2(dx), dy: round2(dy), ...at });
      this.wheel = null;
    }
  }
}

// motions are the motions that a browser put into one event, if they are all there.
function motions(event) {
  const parts = event.getCoalescedEvents?.() ?? [];
  const sum = (axis) => parts.reduce((total, part) => total + part[axis], 0);
  const whole = parts.length > 1 && sum('movementX') === event.movementX && sum('movementY') === event.movementY;
  return whole ? parts : [event];
}

const round2 = (v) => Math.round(v * 100) / 100;
