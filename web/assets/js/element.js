// element.js: <nearcast-player>, the player as a custom element. Our own page is this element
// and nothing more (play.js); a page of others has it by this script. docs/EMBED.md is its manual.
//
//	<nearcast-player src="https://play.example.com" app="viewer" token="…"></nearcast-player>
//
// Attributes, each with a property of its name: src, the router's origin (by default that of the
// page); app; token, the launch token; home, a page that lists apps; autofocus, for a page that is the
// player alone; lang, else the language of what is around it, else of the browser. Properties:
// params, of a public app; words, texts in place of ours; state, queue and session are for reading.
// Events: state, queue, stats, message, ended. Methods: play(), end(), send(), fullscreen(),
// prepare(), unprepare().

import { languageOf, wordsOf } from './language.js';
import { Shell } from './shell.js';
import { look } from './style/look.js';
import { screens } from './style/screens.js';
import { stream } from './style/stream.js';
import { isOver } from './phases.js';

const NAME = 'nearcast-player';
const shells = new WeakMap();
let sheet = null;

// What an invalid src is told with.
const NO_ROUTER = 'This page names no router that the player could ask.';

// inside is what an element shows, once it does: for our own page.
export const inside = (element) => shells.get(element);

export class NearcastPlayer extends HTMLElement {
  static observedAttributes = ['src', 'app', 'token', 'lang'];

  #root = this.attachShadow({ mode: 'open' });
  #shell = null;
  #given = { token: null, params: null, words: {} }; // by properties
  #anew = false;     // another app or router: what is shown has to be made anew
  #reworded = false; // other words: the same, unless there is a session
  #moved = false;    // was taken out of the document
  #soon = false;     // begin or end is about to be decided
  #fetching = false; // waits for the words
  #asked = false;    // play() came before there was a player to do it
  #shut = null;    // the problem for which the app cannot be launched
  #queue = null;

  // For our own page: a session of this browser to go on with, and who hears of each change, and of
  // the first picture.
  hold = null;
  watch = null;
  first = null;

  constructor() {
    super();
    sheet ??= makeSheet();
    this.#root.adoptedStyleSheets = [sheet];
  }

  connectedCallback() {
    // What the page set before this script had come stands in the way of our properties.
    for (const name of ['src', 'app', 'home', 'token', 'params', 'words']) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
    this.#settle();
  }

  disconnectedCallback() {
    this.#moved = true;
    this.#shell?.hands.keyboard.release(); // nobody hears a key go up here
    this.#settle();
  }

  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    if (name === 'token') return void this.#newToken();
    if (name === 'lang') this.#reworded = true;
    else this.#anew = true;
    this.#settle();
  }

  get src() {
    const given = this.getAttribute('src');
    return routerOf(given) ?? given;
  }

  set src(url) { this.#give('src', url); }
  get app() { return this.getAttribute('app') ?? ''; }
  set app(id) { this.#give('app', id); }
  get home() { return this.getAttribute('home') ?? ''; }
  set home(url) { this.#give('home', url); }

  // token is kept out of the document where it is set as a property.
  get token() { return this.#given.token ?? this.getAttribute('token') ?? ''; }
  set token(token) {
    this.#given.token = token || null;
    this.#newToken();
  }

  // params is an object of strings, or null: an app's parameters, where the token does not set them.
  get params() { return this.#given.params; }
  set params(params) {
    this.#given.params = params ? Object.fromEntries(Object.entries(params).map(([name, value]) => [name, String(value)])) : null;
  }

  // words are texts of the page in place of ours, by the keys of words/en.js and later/en.js.
  get words() { return this.#given.words; }
  set words(words) {
    this.#given.words = { ...words };
    this.#reworded = true;
    this.#settle();
  }

  // state is a phase of session.js; 'unavailable' where the app cannot be launched from here.
  get state() {
    return this.#named(this.#shell?.player.state.phase ?? 'ready');
  }

  // queue is {position, estimateMS, paused} while the person waits for a seat, else null.
  get queue() { return this.#queue; }

  // session is {id, site}, of the session that is there or was there last, or null.
  get session() { return this.#shell ? sessionOf(this.#shell.player.state) : null; }

  // play launches. In a click's handler it lets the sound through, too.
  play() {
    // What is shown is about to go. But no session waits for words that are to be fetched.
    const goes = this.#anew || (this.#reworded && !this.#fetching && this.#idle);
    if (this.#shell && !goes) this.#shell.play();
    else this.#asked = true;
  }

  end() {
    this.#asked = false;
    this.#shell?.player.leave();
  }

  async fullscreen() { await this.#shell?.fullscreen(); }

  // prepare says that play() is near, as a pointer on the Play button does; unprepare that it is not.
  prepare() { if (this.state === 'ready') this.#shell?.player.resting.rest(); }
  unprepare() { this.#shell?.player.resting.unrest(); }

  // send gives the app a message, JSON or bytes, and resolves when the app has taken it.
  async send(data) {
    if (!this.#shell) throw new DOMException('The player is not shown.', 'InvalidStateError');
    return this.#shell.player.messages.send(data);
  }

  focus() {
    if (this.state === 'streaming') {
      this.#shell.hands.engage();
      this.#shell.hands.focus();
    } else {
      this.#root.querySelector('.dock button')?.focus();
    }
  }

  // Frameworks set null or undefined where a page has no value any more.
  #give(name, value) {
    if (value === null || value === undefined) this.removeAttribute(name);
    else this.setAttribute(name, value);
  }

  // #settle begins or ends what is shown, when all attributes of now are set: an element that only
  // moves to another place in its document is taken out and put in again.
  #settle() {
    if (this.#soon) return;
    this.#soon = true;
    queueMicrotask(async () => {
      let lang, own, words;
      do {
        [lang, own] = [this.#language(), this.#given.words];
        words = wordsOf(lang, own);
        this.#fetching = Boolean(words.then);
        if (words.then) words = await words; // else at once
      } while (lang !== this.#language() || own !== this.#given.words);
      this.#soon = this.#fetching = false;
      const wanted = this.isConnected && this.app !== '';
      // A session that is there keeps its words.
      if (this.#shell && (!wanted || this.#anew || (this.#reworded && this.#idle))) this.#end();
      if (this.#shell && this.#moved) this.#shell.moved();
      if (this.#moved && !this.isConnected) this.#asked = false;
      this.#anew = this.#reworded = this.#moved = false;
      if (!wanted) return void (this.#shut = null);
      if (!this.#shell) this.#begin(words);
      if (this.#asked) this.#shell?.play();
      this.#asked = false;
    });
  }

  get #idle() { return this.#shell?.player.state.phase === 'ready'; }

  #begin(words) {
    const src = routerOf(this.getAttribute('src'));
    if (src === null) {
      console.error(`nearcast-player: src="${this.getAttribute('src')}" is not the address of a router, such as https://play.example.com`);
      return this.#close({ title: NO_ROUTER });
    }
    this.#open();
    this.#shell = new Shell({
      host: this, root: this.#root, app: this.app, src, home: this.home,
      words, token: () => this.token, params: () => this.params, hold: this.hold,
      tell: (state, before) => this.#told(state, before),
      onStats: (numbers) => this.#say('stats', numbers),
      onApp: () => this.#open(),
      onShut: (problem) => this.#close(problem ?? {}),
    });
    shells.set(this, this.#shell);
    this.#shell.player.messages.onMessage = (data) => this.#say('message', { data });
    this.#shell.player.marks.onFirst = (told) => this.first?.(told);
  }

  // #open and #close say whether the app can be launched from here.
  #open() {
    if (this.#shut) this.#say('state', { state: 'ready', before: 'unavailable', session: null });
    this.#shut = null;
  }

  #close(problem) {
    const before = this.#named('ready');
    const again = this.#shut && this.#shut.type === problem.type;
    this.#shut = problem;
    if (!again) this.#say('state', { state: 'unavailable', before, session: null, problem });
  }

  // #named is a phase as pages get it.
  #named(phase) { return this.#shut && phase === 'ready' ? 'unavailable' : phase; }

  #language() {
    const around = this.closest('[lang]') ?? this.getRootNode().host?.closest('[lang]');
    return languageOf([this.getAttribute('lang') || around?.getAttribute('lang') || '', ...navigator.languages]);
  }

  #end() {
    const { phase } = this.#shell.player.state;
    this.#shell.end();
    this.#shell = null;
    this.#queue = null;
    shells.delete(this);
    if (!isOver(phase)) this.#say('ended', { reason: 'left' });
  }

  // #newToken has a screen that says why the token does not do look again.
  #newToken() {
    if (this.#shell && isOver(this.#shell.player.state.phase)) this.#shell.refresh();
  }

  #told(state, before) {
    this.watch?.(state, before);
    const { phase, queue, end, problem } = state;
    const was = before && this.#named(before.phase);
    if (phase !== 'ready') this.#shut = null;
    const waits = phase === 'queued' && queue ? { position: queue.position, estimateMS: queue.estimate_ms ?? -1, paused: Boolean(queue.paused) } : null;
    const moved = JSON.stringify(waits) !== JSON.stringify(this.#queue);
    this.#queue = waits;
    if (before && phase !== before.phase) {
      this.#say('state', { state: phase, before: was, session: sessionOf(state), ...(problem && { problem }) });
      if (phase === 'ended') this.#say('ended', ending(end));
      if (phase === 'refused') this.#say('ended', { reason: 'refused', problem });
      if (phase === 'replaced') this.#say('ended', { reason: 'replaced' });
      // The person left the queue, or the session was gone when the page was loaded again.
      if (phase === 'ready' && !isOver(before.phase)) this.#say('ended', { reason: state.notice ? 'lost' : 'left' });
    }
    if (waits && moved) this.#say('queue', waits);
  }

  // #say dispatches an event when what led to it is done: a listener may call any method.
  #say(type, detail) {
    queueMicrotask(() => this.dispatchEvent(new CustomEvent(type, { detail })));
  }
}

// ending is a wire.End as pages get it.
function ending({ reason, code, detail, exit_code: exitCode, signal }) {
  return { reason, ...(code && { code }), ...(detail && { detail }), ...(exitCode && { exitCode }), ...(signal && { signal }) };
}

// sessionOf is what pages get of a session. After a reload there is a grant without a launch.
const sessionOf = ({ launch, grant }) => (launch ? { id: grant?.session ?? launch.session, site: launch.site } : null);

// routerOf is the origin of a router, '' for the page's own, or null where that is no address. A
// token goes there, so nothing is guessed.
function routerOf(given) {
  if (!given) return '';
  let url = null;
  try {
    url = new URL(given);
  } catch {
    return null;
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return null;
  return url.origin === location.origin ? '' : url.origin;
}

// A sheet that is made by a script needs no leave of the page's policy.
function makeSheet() {
  const made = new CSSStyleSheet();
  made.replaceSync(look + screens + stream);
  return made;
}

if (!customElements.get(NAME)) customElements.define(NAME, NearcastPlayer);
