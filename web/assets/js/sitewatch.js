// sitewatch.js: asks whether the site of a session still answers, when there is
// doubt, and acts on the verdict (verdict.js): the session leaves a lost site.
// While the answers are pending it already asks for a place at another site; an
// unused ticket expires.

import * as api from './api.js';
import { WAITING } from './phases.js';
import { inquire } from './verdict.js';

const REACHED_LATE_MS = 1000; // an answer that took so long means that the network was gone
const AGAIN_MS = 2000;        // between two inquiries
const GLANCE_MS = 3000;       // between two checks of the brain while waiting
const GLANCE_PATIENCE_MS = 1200;
const SILENT_GLANCES = 3;     // that failed in a row: the socket is dead. Fewer may mean a busy brain
const AHEAD_PATIENCE_MS = 500; // for the launch that was asked for ahead; then other routers are asked too

const GLANCED = new Set([...WAITING, 'granted']); // phases in which the brain is looked at

export class SiteWatch {
  #routers; #state; #request; #token; #dispatch;
  #end = null; // ends the current inquiry
  #again;
  #glances;
  #stopped = false;
  #silent = 0; // glances that failed in a row
  #ahead = null; // {lost, launch}: a launch at another site, asked for before the verdict

  // state() is that of session.js, launchRequest(lost) gives a wire.LaunchRequest,
  // and token() the launch token to send with it, or ''.
  constructor({ routers, state, launchRequest, token, dispatch }) {
    this.#routers = routers;
    this.#state = state;
    this.#request = launchRequest;
    this.#token = token;
    this.#dispatch = dispatch;
  }

  // follow takes each change of state.
  follow({ phase, awayAt }, before) {
    if (phase === 'reconnecting') this.doubt();
    else if (phase === before && awayAt > 0) return; // only the page has done something
    else if (phase !== 'streaming' || before !== 'streaming') this.trust();
    if (GLANCED.has(phase)) this.#glances ??= setInterval(() => this.#glance(), GLANCE_MS);
    else {
      clearInterval(this.#glances);
      this.#glances = undefined;
    }
  }

  // doubt: nothing arrives from the site.
  doubt() {
    const { launch, lost } = this.#state();
    const suspect = launch?.site;
    if (this.#stopped || this.#end || !suspect) return;
    const routers = this.#routers.order({ without: [...lost, suspect] });
    if (routers.length === 0) return; // there is no other site to compare with
    const witnesses = new Map(routers.map((r) => [r.site, r.url]));
    this.#end = inquire({
      suspect, witnesses: [...witnesses.keys()], rtt: this.#routers.rtt(suspect),
      ask: (name, signal) => (name === suspect ? this.#askSuspect(suspect, signal) : askRouter(suspect, witnesses.get(name), signal)),
      onWitness: (name) => this.#launchAhead([...lost, suspect], witnesses.get(name)),
      onVerdict: (verdict, ms) => this.#judged(suspect, verdict, ms),
    });
  }

  // stop ends all of it, once.
  stop() {
    this.#stopped = true;
    this.trust();
    clearInterval(this.#glances);
  }

  // trust: something arrived.
  trust() {
    clearTimeout(this.#again);
    this.#end?.();
    this.#end = null;
  }

  // launched gives the wire.LaunchResponse that was asked for ahead, or null.
  async launched(lost) {
    const ahead = this.#ahead;
    this.#ahead = null;
    if (!ahead || ahead.lost.join() !== lost.join()) return null;
    const late = new Promise((resolve) => { setTimeout(resolve, AHEAD_PATIENCE_MS, null); });
    return Promise.race([ahead.launch.catch(() => null), late]);
  }

  #launchAhead(lost, url) {
    const launch = api.launch(this.#request(lost), this.#token(), undefined, url);
    launch.catch(() => {}); // then the player asks again
    this.#ahead = { lost: [...new Set(lost)], launch };
  }

  #judged(site, verdict, ms) {
    this.#end = null;
    const { phase } = this.#state();
    if (verdict === 'lost') {
      this.#dispatch({ type: 'site-lost', site, now: performance.now() });
      return;
    }
    this.#ahead = null;
    if (phase !== 'reconnecting') return;
    if (ms > REACHED_LATE_MS) this.#dispatch({ type: 'reachable' });
    this.#again = setTimeout(() => { if (this.#state().phase === 'reconnecting') this.doubt(); }, AGAIN_MS);
  }

  // #askSuspect asks the site's brains and its router: one answer is enough.
  #askSuspect(site, signal) {
    const { url, brain } = this.#routers.get(site) ?? {};
    const brains = new Set([...this.#state().urls.slice(0, 1), brain].filter(Boolean).map(healthOf));
    const asked = [...brains].map((health) => api.reach(health, signal));
    if (url !== undefined) {
      asked.push(askRouter(site, url, signal).then((healthy) => {
        if (healthy === false) throw new Error(); // its own router knows no healthy brain
      }));
    }
    return Promise.any(asked);
  }

  // #glance: a person who waits gets few messages, and would not notice a lost site.
  async #glance() {
    const { urls, turn, launch } = this.#state();
    const brain = urls[turn % urls.length];
    if (this.#end || !brain || !launch?.site) return;
    try {
      await api.reach(healthOf(brain), AbortSignal.timeout(GLANCE_PATIENCE_MS));
      this.#silent = 0;
    } catch {
      const now = this.#state();
      if (this.#stopped || !GLANCED.has(now.phase) || now.launch?.session !== launch.session) return;
      if (++this.#silent % SILENT_GLANCES === 0) this.#dispatch({ type: 'brain-silent', now: performance.now() });
      this.doubt();
    }
  }
}

// healthOf is the health URL of a brain, from its WebSocket's URL.
const healthOf = (url) => new URL('/healthz', url.replace(/^ws/, 'http')).href;

// askRouter resolves to what the router at url knows of a site's health.
async function askRouter(site, url, signal) {
  const { sites } = await api.listSites(signal, url);
  return (sites ?? []).find((s) => s.site === site)?.healthy;
}
