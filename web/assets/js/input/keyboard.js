// keyboard.js: keys go to the app, by place (code) and meaning (key), while the
// stage has the focus, and then no key reaches the page around the player. The app gets every
// key that the browser gives, also Tab and F5; the player keeps only the chords below. Leaving the page releases all keys.
//
// What an input method makes of keys is text (text.js): its keys do not go to the app.
// On a Mac, Option with a key is the character that it gives, without a modifier, and
// Command is Control, unless the person chose otherwise (choices.js). While the app
// has the mouse (raw), as games do, a key is a key.

// CHORDS are the page's own: with Ctrl+Alt+Shift, which apps rarely use.
const CHORDS = { KeyS: 'stats', KeyF: 'fullscreen', KeyM: 'menu', KeyQ: 'quit', KeyH: 'help' };

const FLAGS = { Shift: 'shiftKey', Control: 'ctrlKey', Alt: 'altKey', Meta: 'metaKey' };

const TEXT_AT_ONCE = 100; // characters of a message: wire.MaxText bytes hold them

export class Keyboard {
  // surface has the focus; sink has send(); onChord(name) is called for a chord.
  constructor({ surface, sink, onChord, mac = isMac(), choices = {}, clipboard = null }) {
    Object.assign(this, { surface, sink, onChord, mac, choices, clipboard });
    this.raw = false;
    this.held = new Map(); // code → {code, key} as sent, and real: the key as it is
    this.option = null;    // an Option key that the app does not know of: {code, key, used}
    this.taken = false;    // the last key is the app's: it writes nothing here
    this.layout = null;    // code → character, where the browser tells
    this.abort = null;
  }

  start() {
    this.stop();
    this.abort = new AbortController();
    const { signal } = this.abort;
    const on = (type, handler) => this.surface.addEventListener(type, (event) => {
      event.stopPropagation();
      handler(event);
    }, { signal });
    on('keydown', (e) => this.down(e));
    on('keypress', (e) => { if (this.taken) e.preventDefault(); });
    on('keyup', (e) => this.up(e));
    this.surface.addEventListener('focusout', (e) => { if (!this.surface.contains(e.relatedTarget)) this.release(); }, { signal });
    window.addEventListener('blur', () => this.release(), { signal });
    window.addEventListener('pagehide', () => this.release(), { signal });
    document.addEventListener('visibilitychange', () => { if (document.hidden) this.release(); }, { signal });
    if (this.mac) navigator.keyboard?.getLayoutMap?.().then((map) => { this.layout = map; }, () => {});
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    this.held.clear();
    this.option = null;
  }

  down(event) {
    const { code, key } = event;
    const character = this.#optionCharacter(event);
    // The browser puts dead keys together, in a field.
    const composes = key === 'Dead' && isField(event.target) && (character || !event.altKey);
    this.taken = !ofInputMethod(event) && !composes;
    if (!this.taken) return;
    this.clipboard?.next(event);
    if (!event.repeat && isField(event.target) && this.clipboard?.pastes(event, () => this.tap(code, key))) {
      this.ready();
      return; // the browser pastes into the field, which gives the text to clipboard.js
    }
    event.preventDefault();
    this.#missed(event);
    const chord = event.ctrlKey && event.altKey && event.shiftKey && CHORDS[code];
    if (chord) {
      if (event.repeat) return;
      this.release();
      this.onChord(chord);
      return;
    }
    if (character) return this.#typeWithOption(key);
    // macOS gives no keyup for a key with Command, so each press is a whole one.
    if (this.mac && event.metaKey && !(key in FLAGS)) {
      this.ready();
      return this.tap(code, this.#meaning(event));
    }
    // It is still held; the app's own display repeats. Windows repeats a Control that nobody holds with AltGr.
    if (event.repeat) return key in FLAGS || this.#send(this.held.get(code), true);
    if (this.mac && code === 'CapsLock') return this.tap(code, key);
    if (this.#waits(key)) {
      this.option = { code, key, used: false };
      return;
    }
    this.ready();
    this.#press(code, this.#meaning(event), key);
  }

  up(event) {
    if (!event.isComposing) event.preventDefault();
    const { code, key } = event;
    if (key in FLAGS) this.clipboard?.next(event);
    // macOS reports Caps Lock off by a keyup alone.
    if (this.mac && code === 'CapsLock') return this.tap(code, key);
    if (this.option?.code === code) {
      const { used } = this.option;
      this.option = null;
      if (!used) this.tap(code, key);
      return;
    }
    if (!this.held.has(code)) return;
    this.#letGo(code);
    if (key === 'Meta') for (const other of [...this.held.keys()]) this.#letGo(other);
  }

  // tap presses and releases: for keys of the toolbar and of screen keyboards.
  tap(code, key) {
    this.#send({ code, key }, true);
    this.#send({ code, key });
  }

  // paste presses the keys that paste, for a button.
  paste() {
    const control = { code: 'ControlLeft', key: 'Control' };
    this.#send(control, true);
    this.tap('KeyV', 'v');
    this.#send(control);
  }

  // text types a text as it is.
  text(data) {
    const characters = [...data.replace(/\r\n?/g, '\n')].filter(isText);
    for (let at = 0; at < characters.length; at += TEXT_AT_ONCE) {
      this.sink.send({ t: 'text', text: characters.slice(at, at + TEXT_AT_ONCE).join('') });
    }
  }

  // ready is called before anything that a held Option key modifies, such as a click.
  ready(event) {
    if (event) this.#missed(event);
    if (!this.option) return;
    const { code, key } = this.option;
    this.option = null;
    this.#press(code, key, key);
  }

  // release releases everything that is held, buttons too.
  release() {
    this.held.clear();
    this.option = null;
    this.sink.send({ t: 'blur' });
  }

  #waits(key) {
    return this.mac && !this.raw && key === 'Alt' && this.choices.option !== 'alt';
  }

  #optionCharacter(event) {
    return this.mac && !this.raw && this.choices.option !== 'alt' && event.altKey && !event.ctrlKey && !event.metaKey
      && (event.key === 'Dead' || isCharacter(event.key));
  }

  #typeWithOption(character) {
    for (const [code, { real }] of this.held) {
      if (real !== 'Alt') continue;
      this.#letGo(code);
      this.option = { code, key: real };
    }
    if (this.option) this.option.used = true;
    this.text(character);
  }

  // #meaning is the key as the app gets it. With Option as Alt, a Mac still says
  // which character Option would make: the app gets the key's own instead.
  #meaning({ code, key, altKey, shiftKey }) {
    if (!(this.mac && altKey && (isCharacter(key) || key === 'Dead'))) return key;
    const own = this.layout?.get?.(code) ?? '';
    if (!shiftKey) return own;
    return own.toUpperCase() === own ? '' : own.toUpperCase(); // without a meaning, a key goes by its place
  }

  #press(code, key, real) {
    let as = { code, key };
    if (this.mac && key === 'Meta' && this.choices.command !== 'meta') {
      as = { code: code === 'MetaRight' ? 'ControlRight' : 'ControlLeft', key: 'Control' };
    }
    if (this.held.has(code)) this.#letGo(code); // keys without a place share one
    this.held.set(code, { ...as, real });
    this.#send(as, true);
  }

  #letGo(code) {
    const as = this.held.get(code);
    this.held.delete(code);
    this.#send(as);
  }

  // #missed lets go of modifiers whose keyup went elsewhere: to the window manager,
  // or to another window.
  #missed(event) {
    if (event.getModifierState?.('AltGraph')) return; // browsers then hide Control and Alt
    for (const [code, { real }] of this.held) {
      if (code !== event.code && event[FLAGS[real]] === false) this.#letGo(code);
    }
  }

  #send(as, pressed) {
    if (as) this.sink.send({ t: 'key', code: as.code, key: as.key, ...(pressed && { p: true }) });
  }
}

// ofInputMethod says whether an input method takes a key: it will give text.
export function ofInputMethod({ isComposing, key, keyCode }) {
  return Boolean(isComposing) || key === 'Process' || key === 'Unidentified' || keyCode === 229;
}

const isField = (node) => node?.tagName === 'TEXTAREA';
const isCharacter = (key) => [...key].length === 1;
const isText = (c) => c === '\n' || c === '\t' || !/[\p{Cc}\p{Cs}]/u.test(c);

export function isMac() {
  return /mac|iphone|ipad/i.test(globalThis.navigator?.platform ?? '');
}
