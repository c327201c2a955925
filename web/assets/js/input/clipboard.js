// clipboard.js: text between the person's clipboard and the app's, as the job allows. It
// goes to the app when the person presses the keys that paste: then the browser gives it
// without a question. It comes from the app when the app copied, and waits for the next
// key or click where the browser wants one.

const PART = 2000;       // characters of a message: wire.MaxClipPart bytes hold them
const MOST = 200 << 10;  // bytes: wire.MaxClip
const PASTE_MS = 100;    // how long the browser may take to give the text

export class Clipboard {
  // sink has send(); surface gets the browser's paste events.
  constructor({ surface, sink, mac = false, write = (text) => navigator.clipboard.writeText(text) }) {
    Object.assign(this, { sink, mac, write });
    this.mode = 'none';
    this.parts = '';
    this.copied = null; // what the browser did not take yet
    this.paste = null;  // what is to happen once the text is there
    surface?.addEventListener('paste', (event) => {
      event.preventDefault();
      this.pasted(event.clipboardData?.getData('text/plain') ?? '');
    });
  }

  get takes() { return this.mode === 'in' || this.mode === 'both'; }

  // pastes says whether a key pastes; then the browser must have it, and press() is
  // called when the app has the text.
  pastes(event, press) {
    const { code, key, ctrlKey, metaKey, shiftKey, altKey } = event;
    const v = key.toLowerCase() === 'v' && (this.mac ? metaKey || ctrlKey : ctrlKey) && !altKey;
    const insert = code === 'Insert' && shiftKey && !ctrlKey && !altKey;
    if (!this.takes || !(v || insert)) return false;
    this.pasted(null);
    this.paste = press;
    setTimeout(() => { if (this.paste === press) this.pasted(null); }, PASTE_MS);
    return true;
  }

  // pasted sends the text, if there is one, and lets the key follow.
  pasted(text) {
    if (text && this.takes && new TextEncoder().encode(text).length <= MOST) {
      const characters = [...(text.toWellFormed?.() ?? text)];
      for (let at = 0; at < characters.length; at += PART) {
        const more = at + PART < characters.length;
        this.sink.send({ t: 'clip', text: characters.slice(at, at + PART).join(''), ...(more && { more }) });
      }
    }
    const press = this.paste;
    this.paste = null;
    press?.();
  }

  // told takes a wire.Clip: a part of what the app copied.
  told({ text, more }) {
    if (this.mode !== 'out' && this.mode !== 'both') return;
    this.parts += text;
    if (more) return;
    this.copied = this.parts;
    this.parts = '';
    this.flush();
  }

  // flush gives the browser what the app copied. It is called again with each key and click.
  flush() {
    const { copied } = this;
    if (copied === null) return;
    Promise.resolve().then(() => this.write(copied)).then(() => { if (this.copied === copied) this.copied = null; }, () => {});
  }
}
