// clipboard.js: text, HTML and pictures between the person's clipboard and the app's, as
// the job allows. They go to the app when the person presses the keys that paste: then the
// browser gives them without a question. They come from the app when the app copied, and
// wait for the next key or click where the browser wants one.
//
// What comes from either side is data. HTML is never put into this page; the person's
// clipboard gets it as a ClipboardItem, which the browser cleans of scripts.

import { ClipLink, isPicture, MOST } from './cliplink.js';

export { ClipLink };

const PART = 2000;           // characters of a message: wire.MaxClipPart bytes hold them
const MOST_TEXT = 200 << 10; // bytes of a text on the channel for input: wire.MaxClipText
const PASTE_MS = 100;        // how long the browser may take to give what is pasted
const FETCH_MS = 300;        // how long a text waits for what was copied with it
const MODIFIERS = new Set(['Control', 'Meta', 'Shift', 'Alt', 'AltGraph']);
const TYPES = { text: 'text/plain', html: 'text/html', png: 'image/png' };

// Programs that are not told otherwise read HTML by the characters of their country.
const CHARSET = '<meta http-equiv="content-type" content="text/html; charset=utf-8">';

export class Clipboard {
  // sink has send(); link is a ClipLink; surface gets the browser's paste events. used() says whether
  // the person uses this player: else what the app copies waits for their next key or click in it.
  // onTrouble(why) is told what the person has to know: 'large', 'write-denied', 'write-later',
  // 'read-denied' or 'insecure'.
  constructor({ surface, sink, link = null, mac = false, used = () => true, onTrouble = () => {}, browser = theBrowser }) {
    Object.assign(this, { sink, link, mac, used, onTrouble, browser });
    this.mode = 'none';
    this.parts = '';
    this.turn = 0;      // counts what the app copied
    this.copied = null; // kind → Blob: what the browser did not take yet
    this.paste = null;  // what is to happen once the app can paste
    surface?.addEventListener('paste', (event) => {
      event.preventDefault();
      event.stopPropagation(); // it is the app's, not the page's around the player
      this.pasted(event.clipboardData && kindsOf(event.clipboardData));
    });
  }

  get takes() { return this.mode === 'in' || this.mode === 'both'; }
  get gives() { return this.mode === 'out' || this.mode === 'both'; }

  // #isPaste says whether an event is of the keys that paste.
  #isPaste({ code, key = '', ctrlKey, metaKey, shiftKey, altKey }) {
    // On a Mac, browsers paste with Command alone.
    const v = key.toLowerCase() === 'v' && (this.mac ? metaKey : ctrlKey) && !altKey;
    return v || code === 'Insert' && shiftKey && !ctrlKey && !altKey;
  }

  // pastes says whether a key pastes; then the browser must have it, and press() is
  // called when the app can paste.
  pastes(event, press) {
    if (!this.takes || !this.#isPaste(event)) return false;
    this.pasted(null);
    this.paste = press;
    setTimeout(() => { if (this.paste === press) this.pasted(null); }, PASTE_MS);
    return true;
  }

  // pasted tells the seat what the person has, if there is something, and lets the key
  // follow. A short text is sent; all else is offered, and fetched when the app reads it.
  pasted(kinds) {
    if (kinds && this.takes) this.#send(kinds);
    const press = this.paste;
    this.paste = null;
    press?.();
  }

  #send(kinds) {
    const blobs = {};
    let { text = '' } = kinds;
    text = text.toWellFormed?.() ?? text;
    const long = new Blob([text]);
    if (long.size > MOST_TEXT) {
      blobs.text = long;
      text = '';
    }
    if (kinds.html) blobs.html = new Blob([/charset\s*=/i.test(kinds.html.slice(0, 1024)) ? '' : CHARSET, kinds.html]);
    if (kinds.png) blobs.png = kinds.png;
    let large = false;
    for (const kind of Object.keys(blobs)) {
      if (blobs[kind].size > 0 && blobs[kind].size <= MOST) continue;
      large ||= blobs[kind].size > MOST;
      delete blobs[kind];
    }
    if (large) this.onTrouble('large');
    const offer = Object.keys(blobs).length > 0 && this.link?.open ? this.link.give(blobs) : null;
    // For what is too large the app gets an empty clipboard, not what was pasted before.
    if (!text && !offer && !large) return;
    const characters = [...text];
    for (let at = 0; at === 0 || at < characters.length; at += PART) {
      const more = at + PART < characters.length;
      this.sink.send({ t: 'clip', text: characters.slice(at, at + PART).join(''), ...(more && { more }), ...(!more && offer && { offer }) });
    }
  }

  // read is for a button: the browser asks the person whether the page may read their
  // clipboard. It resolves to whether the app can paste.
  async read() {
    if (!this.takes) return false;
    if (!this.browser.secure()) {
      this.onTrouble('insecure');
      return false;
    }
    try {
      const kinds = await this.browser.read();
      if (Object.keys(kinds).length === 0) return false;
      this.pasted(kinds);
      return true;
    } catch {
      this.onTrouble('read-denied');
      return false;
    }
  }

  // told takes a wire.Clip: a part of what the app copied, and with the last one what else
  // there is.
  async told({ first, text = '', more, offer }) {
    if (!this.gives) return;
    if (first) this.parts = ''; // of a copy that did not come whole
    this.parts = (this.parts + text).slice(0, MOST_TEXT + 1);
    if (more) return;
    const all = this.parts;
    this.parts = '';
    this.turn += 1;
    const { turn } = this;
    const short = all && all.length <= MOST_TEXT ? { text: new Blob([all], { type: TYPES.text }) } : {};
    const take = (fetched) => {
      if (turn !== this.turn) return; // the app copied something else
      const copied = { ...short, ...Object.fromEntries(Object.entries(fetched).map(([kind, bytes]) => [kind, new Blob([bytes], { type: TYPES[kind] })])) };
      if (Object.keys(copied).length === 0) return;
      this.copied = copied;
      if (this.used()) this.flush(true);
    };
    let fetched = {};
    let taken = false;
    if (offer && this.link) {
      const early = setTimeout(() => { taken = true; take({}); }, FETCH_MS);
      try {
        fetched = await this.link.fetch(offer);
      } catch {
        // The text is there all the same.
      }
      clearTimeout(early);
      if (fetched.png && !isPicture(fetched.png)) delete fetched.png;
    }
    if (!taken || Object.keys(fetched).length > 0) take(fetched);
  }

  // next is called before each key and click, and before a modifier is released: a paste that waits
  // for the browser comes first, and a copy may be written now. Keys that paste write no copy
  // that waits: the person may have copied something else since.
  next(event) {
    this.pasted(null);
    if (!MODIFIERS.has(event.key) && !this.#isPaste(event)) this.flush(); // those come before the key that pastes
  }

  // flush gives the browser what the app copied.
  async flush(first = false) {
    const { copied } = this;
    if (copied === null) return;
    try {
      await null;
      await this.browser.write(copied);
    } catch (error) {
      if (this.copied !== copied) return;
      if (error?.name === 'NotAllowedError' || !copied.png) {
        if (first) this.onTrouble(await this.#whyNot());
        return;
      }
      const { png, ...rest } = copied; // the browser cannot read the picture
      this.copied = Object.keys(rest).length > 0 ? rest : null;
      return this.flush(first);
    }
    if (this.copied === copied) this.copied = null;
  }

  async #whyNot() {
    if (!this.browser.secure()) return 'insecure';
    return await this.browser.denied('clipboard-write') ? 'write-denied' : 'write-later';
  }
}

// kindsOf reads a DataTransfer, which lasts as long as its event.
function kindsOf(data) {
  const kinds = {};
  if (data.getData('text/plain')) kinds.text = data.getData('text/plain');
  if (data.getData('text/html')) kinds.html = data.getData('text/html');
  const png = [...data.files].find(({ type }) => type === TYPES.png);
  if (png) kinds.png = png;
  return kinds;
}

// theBrowser is the asynchronous Clipboard API. Old browsers have it for text alone.
const theBrowser = {
  secure: () => Boolean(navigator.clipboard),
  denied: (name) => navigator.permissions?.query({ name }).then(({ state }) => state === 'denied', () => false) ?? false,
  async write(copied) {
    if (globalThis.ClipboardItem && (copied.html || copied.png)) {
      return navigator.clipboard.write([new ClipboardItem(Object.fromEntries(Object.entries(copied).map(([kind, blob]) => [TYPES[kind], blob])))]);
    }
    if (copied.text) return navigator.clipboard.writeText(await copied.text.text());
  },
  async read() {
    const kinds = {};
    if (!navigator.clipboard.read) {
      kinds.text = await navigator.clipboard.readText();
      return kinds;
    }
    const [item] = await navigator.clipboard.read();
    for (const [kind, type] of Object.entries(TYPES)) {
      if (!item?.types.includes(type)) continue;
      const blob = await item.getType(type);
      kinds[kind] = kind === 'png' ? blob : await blob.text();
    }
    return kinds;
  },
};
