// login.js: the person's login, at the player's own page. The login is a cookie that no script reads; for
// it the router gives a token for one app and some minutes, which the player launches with as with a
// launch token. A page of others has no login: its server makes launch tokens.

import { inside } from './element.js';
import { wordsOf } from './language.js';
import { isOver } from './phases.js';
import { problemOf } from './api.js';
import { isClosed } from './screens/bare.js';
import { el } from './ui/dom.js';
import './later/en.js';

const AGAIN_MS = 20_000;   // after a failure, while there is a session
const LATEST_MS = 200_000; // a token is good for five minutes, by a clock that may not be this one
const TIMEOUT_MS = 10_000;
const MOST = 2000; // of a query; the router brings back what is not longer
const name = (what, app) => `nearcast:login:${what}:${app}`;

// kept is a word that the browser keeps, for the tab or for all; storage may be refused.
function kept(store, key, value) {
  try {
    const before = window[store].getItem(key);
    if (value) window[store].setItem(key, value);
    else if (value === '') window[store].removeItem(key);
    return before;
  } catch {
    return null;
  }
}

export class Login {
  // element is the player of the page.
  constructor(app, element) {
    Object.assign(this, { app, element, timer: 0, asking: null, person: null });
    this.trouble = new URLSearchParams(location.hash.slice(1)).get('login');
    if (this.trouble !== null) history.replaceState(history.state, '', location.pathname + location.search);
    if (!['late', 'denied', 'failed'].includes(this.trouble)) this.trouble = '';
    // The person pressed the button that leads to the login, in this tab.
    const left = kept('sessionStorage', name('plays', app), '');
    this.plays = left !== null && !this.trouble;
    // No login carries a long query.
    if (left?.length > MOST && location.search === '') history.replaceState(history.state, '', location.pathname + left);
    element.addEventListener('state', ({ detail }) => this.#saw(detail));
    element.addEventListener('click', (event) => this.#leaves(event));
    document.addEventListener('visibilitychange', () => { if (!document.hidden && this.person && Date.now() > this.due) this.#ask(); });
  }

  // expected: the person has played this app by a login, or comes from it.
  get expected() { return this.plays || kept('localStorage', name('known', this.app)) !== null; }

  // begin asks for a token before the player is shown, so that nothing else is shown first.
  async begin() {
    await this.#ask();
    this.#play();
  }

  // #saw is told of each state of the player.
  async #saw({ state, problem }) {
    if (!problem?.type?.endsWith('/login')) return;
    if (state !== 'unavailable' && state !== 'refused') return;
    if (this.trouble) {
      const { trouble } = this;
      this.trouble = ''; // it is said once
      return void inside(this.element)?.close({ ...problem, trouble });
    }
    if (performance.now() - (this.askedAt ?? -AGAIN_MS) < 1000) return; // for the same problem
    if (await this.#ask() && state === 'refused') this.plays = true;
    this.#play();
  }

  #play() {
    if (this.plays && this.person) this.element.play();
    this.plays = false;
  }

  // #ask gets a token, and reports whether there is one.
  #ask() {
    this.asking ??= this.#get().finally(() => { this.asking = null; });
    return this.asking;
  }

  async #get() {
    clearTimeout(this.timer);
    this.askedAt = performance.now();
    let problem = null;
    try {
      const answer = await fetch(`/login/token?app=${encodeURIComponent(this.app)}`, { method: 'POST', cache: 'no-store', headers: { Accept: 'application/json' }, signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (answer.ok) {
        const found = await answer.json();
        const ms = Math.min(LATEST_MS, Math.max(AGAIN_MS, Date.parse(found.expires) - Date.now() - 60_000));
        this.timer = setTimeout(() => this.#ask(), ms);
        this.due = Date.now() + ms;
        this.element.token = found.token;
        kept('localStorage', name('known', this.app), '1');
        await this.#show(found.name ?? '');
        return true;
      }
      problem = await problemOf(answer);
      if (!isClosed(problem)) throw new Error(problem.title); // it says nothing of the login
    } catch {
      if (this.person) this.timer = setTimeout(() => this.#ask(), AGAIN_MS);
      return false;
    }
    this.#forget();
    if (problem.type?.endsWith('/login-groups')) this.#refuse(problem);
    return false;
  }

  // #refuse says that the person is none of those for whom the app is.
  #refuse(problem) {
    const shell = inside(this.element);
    if (!shell) return void this.element.addEventListener('state', () => inside(this.element)?.close(problem), { once: true });
    if (shell.player.state.phase === 'ready') shell.close(problem);
  }

  #forget() {
    kept('localStorage', name('known', this.app), '');
    this.line?.remove();
    this.line = null;
    if (!this.person) return;
    this.person = null;
    // A session that is there goes on; what follows it needs a login.
    this.element.token = '';
  }

  // #show says who the person is, with the button that logs them out.
  async #show(person) {
    const before = this.person;
    this.person = { name: person };
    if (before?.name === person) return;
    const w = await wordsOf(this.element.lang);
    this.line?.remove();
    this.line = el('span.person', { slot: 'brand' }, el('span', {}, person), el('button', { type: 'button', onclick: () => this.#out() }, w.say('login.out')));
    this.element.append(this.line);
  }

  async #out() {
    const answer = await fetch('/login/out', { method: 'POST', cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(() => null);
    if (!answer?.ok) return; // the line stays: the person is still logged in
    clearTimeout(this.timer);
    const player = inside(this.element)?.player;
    if (player && !isOver(player.state.phase)) player.leave(); // what they wait for
    kept('sessionStorage', name('anew', ''), '1');
    this.askedAt = performance.now(); // what follows is known
    this.#forget();
  }

  // #leaves notes that the person goes to the login, to play when they are back. Who has logged out
  // before is asked for a password: the provider may know them still.
  #leaves(event) {
    const link = event.composedPath().find((node) => node.matches?.('a.log-in'));
    if (!link) return;
    kept('sessionStorage', name('plays', this.app), location.search || '?');
    if (kept('sessionStorage', name('anew', ''), '') !== null && !link.search.includes('anew=')) link.search += '&anew=1';
  }
}
