// hands.js: what the person's hands do at one player: keyboard, text, pointer, fingers,
// gamepads and clipboard, put together. They reach the app only while the player is in use
// (engaged): a page may have more than one, and things of its own. Fingers, gamepads and clipboards
// are loaded where a session has them.

import { choose, recallChoices } from './input/choices.js';
import { Keyboard, isMac } from './input/keyboard.js';
import { Pointer } from './input/pointer.js';
import { TextField } from './input/text.js';
import { el } from './ui/dom.js';
import { View } from './view.js';

export class Hands {
  // host is the custom element, sink the Player; onChord(name) is told of the player's own keys,
  // onClipboard(why) of trouble, onPaste() when pastes has changed, onMode() when the app begins or ends to want the mouse,
  // onLock(locked) when it has it, and onFinger() as touch.js says.
  constructor({ host, stage, touchy, label, onChord, onClipboard, onPaste, onMode, onLock, onFinger }) {
    Object.assign(this, { host, stage, touchy, onMode, onPaste });
    this.engaged = false;
    this.touch = this.gamepads = this.clipboard = this.link = null;
    this.coming = {}; // promises of these, by name
    this.turn = 0;    // counts starts and stops
    this.player = null; // set by join
    this.away = new AbortController();
    const { surface } = stage;
    const used = () => this.engaged;
    const sink = { send: (input) => this.player.send(input), move: (input) => this.player.move(input) };
    const after = { ...sink, send: (input) => { this.pointer.settle(); sink.send(input); } };
    this.choices = recallChoices();
    const field = el('textarea.typing', { autocapitalize: 'off', autocomplete: 'off', spellcheck: false, tabIndex: -1, 'aria-label': label, rows: 1, inputMode: touchy ? 'none' : '' });
    surface.append(field);
    this.view = new View(surface);
    this.keyboard = new Keyboard({ surface, sink: after, onChord, choices: this.choices });
    this.text = new TextField({ surface, field, keyboard: this.keyboard });
    this.pointer = new Pointer({
      surface, video: stage.video, sink, used, onLock, onMode: () => this.mode(), draws: !touchy,
      onUse: (event) => {
        this.engage();
        this.keyboard.ready(event);
        this.clipboard?.next(event);
        if (event.type !== 'mousedown') return;
        this.text.place(event);
        this.text.focus();
      },
    });
    // Each gives a part, once its module is there.
    this.makers = {
      touch: async () => {
        const { Touch } = await import('./input/touch.js');
        return new Touch({ surface, pointer: this.pointer, text: this.text, sink: after, onFinger });
      },
      gamepads: async () => {
        const { Gamepads } = await import('./input/gamepads.js');
        return new Gamepads({ sink, focused: () => this.engaged && document.hasFocus() && !document.hidden });
      },
      clipboard: async () => {
        const { Clipboard, ClipLink } = await import('./input/clipboard.js');
        this.link = new ClipLink({ channel: () => this.player.peer?.clips ?? null });
        return this.keyboard.clipboard = new Clipboard({ surface, sink, link: this.link, mac: isMac(), used, onTrouble: onClipboard });
      },
    };
    // Without a clipboard nothing is pasted: neither into the app nor into the page around it.
    surface.addEventListener('paste', (event) => {
      if (this.clipboard) return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.#bring('touch'); // also where no screen takes fingers yet: one may be plugged in
    this.#watch();
  }

  // #bring loads a part, once. What cannot be loaded now the next session asks for again. Older
  // browsers keep the failure: there only a reload of the page helps.
  #bring(name) {
    return this.coming[name] ??= this.makers[name]().then((part) => this[name] = part).catch((error) => {
      this.coming[name] = null;
      console.error(`nearcast: ${name} could not be loaded:`, error);
      return null;
    });
  }

  // #start starts a part with the session of now, at once where it is loaded.
  #start(name, ...given) {
    if (this[name]) return this[name].start(...given);
    const { turn } = this;
    this.#bring(name).then((part) => { if (turn === this.turn) part?.start(...given); });
  }

  join(player) {
    this.player = player;
  }

  // #watch follows whether the person uses this player or something else on the page. It takes
  // nothing from the page.
  #watch() {
    const { signal } = this.away;
    const options = { capture: true, passive: true, signal };
    for (const type of ['pointerdown', 'focusin']) {
      document.addEventListener(type, (event) => { if (!event.composedPath().includes(this.host)) this.disengage(); }, options);
      // The document does not see the player in a closed shadow root of the page.
      this.host.addEventListener(type, () => this.engage(), options);
    }
  }

  engage() {
    if (this.engaged) return;
    this.engaged = true;
    this.gamepads?.resume();
  }

  disengage() {
    if (!this.engaged) return;
    this.engaged = false;
    this.gamepads?.release();
  }

  // shake takes a wire.Rumble: hands that are at something else feel nothing of it.
  shake(rumble) {
    if (this.engaged) this.gamepads?.rumble(rumble);
  }

  // focus gives the app the keyboard, unless the person uses something else on the page.
  focus() {
    if (this.engaged) this.text.focus();
  }

  // start is called when there is a picture, with the grant's wire.Display.
  start(display) {
    this.turn += 1;
    this.expect(display);
    this.keyboard.start();
    this.pointer.start(display);
    this.view.start(display, (now) => this.player.send({ t: 'view', view: now }));
    this.ask();
    this.mode();
    this.#start('touch', display);
    if (display.gamepads) this.#start('gamepads');
    this.focus();
  }

  // expect is told what the session will need, before there is a picture.
  expect({ clipboard: mode = 'none', gamepads }) {
    this.clip = mode || 'none';
    const set = (clipboard) => {
      if (clipboard) clipboard.mode = this.clip;
      this.onPaste();
    };
    if (this.clipboard) set(this.clipboard);
    else if (this.clip !== 'none') this.#bring('clipboard').then(set);
    if (gamepads) this.#bring('gamepads');
  }

  // pastes says whether a paste reaches the app: not before the module is there.
  get pastes() {
    return Boolean(this.clipboard) && ['in', 'both'].includes(this.clip);
  }

  // heard takes what the seat says of clipboards, in its order, also before the
  // module is there.
  heard(take) {
    if (this.clipboard) return take(this);
    this.coming.clipboard?.then(() => { if (this.clipboard) take(this); });
  }

  stop() {
    this.turn += 1;
    for (const part of [this.keyboard, this.pointer, this.view, this.touch, this.gamepads]) part?.stop();
  }

  // end is called once.
  end() {
    this.stop();
    this.away.abort();
  }

  // again is called when there is a new channel for input: the seat knows nothing of it.
  again() {
    this.link?.reset();
    this.ask();
    this.view.again();
    this.gamepads?.begin();
  }

  // ask asks the seat for the app's cursor. A finger has none: then it stays in
  // the picture, as in that of a page that never asks.
  ask() {
    this.player.send({ t: 'cursor', ...(this.pointer.draws && { p: true }) });
  }

  // mode follows what the app wants of the mouse.
  mode() {
    this.keyboard.raw = this.pointer.relative;
    this.stage.surface.classList.toggle('absolute', !this.pointer.relative);
    this.onMode();
    this.focus();
  }

  async paste() {
    if (await this.clipboard?.read()) this.keyboard.paste();
  }

  choose(name) {
    this.keyboard.release();
    choose(this.choices, name);
  }

  unlock() {
    if (this.pointer.locked) document.exitPointerLock();
  }
}
