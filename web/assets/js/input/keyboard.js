// keyboard.js: keys go to the app, by place (code) and meaning (key), while the
// stage has the focus. The app gets every key that the browser gives, also Tab and
// F5; the page keeps only the chords below. Leaving the page releases all keys.

// CHORDS are the page's own: with Ctrl+Alt+Shift, which apps rarely use.
const CHORDS = { KeyS: 'stats', KeyF: 'fullscreen', KeyM: 'menu', KeyQ: 'quit' };

export class Keyboard {
  // surface has the focus; sink has send(); onChord(name) is called for a chord.
  constructor({ surface, sink, onChord, mac = isMac() }) {
    Object.assign(this, { surface, sink, onChord, mac });
    this.held = new Map(); // code → key
    this.abort = null;
  }

  start() {
    this.stop();
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.surface.addEventListener('keydown', (e) => this.down(e), { signal });
    this.surface.addEventListener('keyup', (e) => this.up(e), { signal });
    this.surface.addEventListener('blur', () => this.release(), { signal });
    window.addEventListener('blur', () => this.release(), { signal });
    document.addEventListener('visibilitychange', () => { if (document.hidden) this.release(); }, { signal });
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    this.held.clear();
  }

  down(event) {
    event.preventDefault();
    if (event.repeat || event.isComposing) return; // the app's own display repeats
    const chord = event.ctrlKey && event.altKey && event.shiftKey && CHORDS[event.code];
    if (chord) {
      this.release();
      this.onChord(chord);
      return;
    }
    if (this.mac && event.code === 'CapsLock') return this.tap(event.code, event.key);
    this.held.set(event.code, event.key);
    this.#send(event.code, event.key, true);
  }

  up(event) {
    event.preventDefault();
    // macOS reports Caps Lock off by a keyup alone, and no keyup at all for
    // keys that were pressed with Command.
    if (this.mac && event.code === 'CapsLock') return this.tap(event.code, event.key);
    if (!this.held.has(event.code)) return;
    this.held.delete(event.code);
    this.#send(event.code, event.key, false);
    if (event.key === 'Meta') {
      for (const [code, key] of this.held) this.#send(code, key, false);
      this.held.clear();
    }
  }

  // tap presses and releases: for keys of the toolbar and of screen keyboards.
  tap(code, key) {
    this.#send(code, key, true);
    this.#send(code, key, false);
  }

  // release releases everything that is held, buttons too.
  release() {
    this.held.clear();
    this.sink.send({ t: 'blur' });
  }

  #send(code, key, pressed) {
    const input = { t: 'key', code, key };
    if (pressed) input.p = true;
    this.sink.send(input);
  }
}

function isMac() {
  return /mac|iphone|ipad/i.test(globalThis.navigator?.platform ?? '');
}

// ScreenKeyboard turns what a phone's keyboard writes into keys. Such keyboards
// have no codes, only text, so keys go by their meaning.
export class ScreenKeyboard {
  constructor({ field, keyboard }) {
    this.field = field;
    field.addEventListener('beforeinput', (event) => {
      event.preventDefault();
      if (event.inputType.startsWith('deleteContentBackward')) keyboard.tap('Backspace', 'Backspace');
      else if (event.inputType === 'deleteContentForward') keyboard.tap('Delete', 'Delete');
      else if (event.inputType === 'insertLineBreak' || event.inputType === 'insertParagraph') keyboard.tap('Enter', 'Enter');
      else for (const character of event.data ?? '') keyboard.tap('', character);
    });
  }

  toggle() {
    if (document.activeElement === this.field) this.field.blur();
    else this.field.focus({ preventScroll: true });
  }
}
