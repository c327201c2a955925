// sitewatch.js: whether the site of a session is there, asked when there is doubt,
// and what follows from the verdict (verdict.js): a site that is lost is left.
// While the answer is awaited a place elsewhere is already asked for, so that
// it is at hand; a ticket that nobody uses lapses.

import * as api from './api.js';
import { inquire } from './verdict.js';

const REACHED_LATE_MS = 1000; // an answer that took so long came through a network that was gone
const AGAIN_MS = 2000;        // between two inquiries
const GLANCE_MS = 3000;       // between two looks at a brain that one waits for
const GLANCE_PATIENCE_MS = 1200;
const AHEAD_PATIENCE_MS = 500; // for a launch asked for ahead; then others are asked too

const WAITING = new Set(['connecting', 'queued', 'starting', 'granted']);

export class SiteWatch {
  #routers; #state; #request; #dispatch;
  #end = null; // ends the inquiry that is under way
  #again;
  #glances;
  #ahead = null; // {lost, launch}: a launch elsewhere, asked for ahead of the verdict

  // state() is that of session.js, launchRequest(lost) gives a wire.LaunchRequest.
  constructor({ routers, state, launchRequest, dispatch }) {
    this.#routers = routers;
    this.#state = state;
    this.#request = launchRequest;
    this.#dispatch = dispatch;
  }

  // follow is told of each change of state.
  follow(phase, before) {
    if (phase === 'reconnecting') this.doubt();
    else if (phase !== 'streaming' || before !== 'streaming') this.trust();
    if (WAITING.has(phase)) this.#glances ??= setInterval(() => this.#glance(), GLANCE_MS);
    else {
      clearInterval(this.#glances);
      this.#glances = undefined;
    }
  }

  // doubt: nothing comes from the site.
  doubt() {
    const { launch, lost } = this.#state();
    const suspect = launch?.site;
    if (this.#end || !suspect) return;
    const routers = this.#routers.order({ without: [...lost, suspect] });
    if (routers.length === 0) return; // there is nobody to compare with
    const witnesses = new Map(routers.map((r) => [r.site, r.url]));
    this.#end = inquire({
      suspect, witnesses: [...witnesses.keys()], rtt: this.#routers.rtt(suspect),
      ask: (name, signal) => (name === suspect ? this.#askSuspect(suspect, signal) : askRouter(suspect, witnesses.get(name), signal)),
      onWitness: (name) => this.#launchAhead([...lost, suspect], witnesses.get(name)),
      onVerdict: (verdict, ms) => this.#judged(suspect, verdict, ms),
    });
  }

  // trust: something came.
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
    const launch = api.launch(this.#request(lost), undefined, url);
    launch.catch(() => {}); // then it is asked for again
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

  // #askSuspect: whatever answers at the site will do: its router, or its brain.
  #askSuspect(site, signal) {
    const { url, brain } = this.#routers.get(site) ?? {};
    const brains = new Set([...this.#state().urls.slice(0, 1), brain].filter(Boolean).map(healthOf));
    const asked = [...brains].map((health) => api.reach(health, signal));
    if (url !== undefined) {
      asked.push(askRouter(site, url, signal).then((healthy) => {
        if (healthy === false) throw new Error('its own router knows of no brain');
      }));
    }
    return Promise.any(asked);
  }

  // #glance: who waits hears little, and would not notice that nobody is there.
  async #glance() {
    const { urls, turn, launch } = this.#state();
    const brain = urls[turn % urls.length];
    if (this.#end || !brain || !launch?.site) return;
    try {
      await api.reach(healthOf(brain), AbortSignal.timeout(GLANCE_PATIENCE_MS));
    } catch {
      if (WAITING.has(this.#state().phase) && this.#state().launch === launch) this.doubt();
    }
  }
}

// healthOf is where a brain says how it is, by its WebSocket's URL.
const healthOf = (url) => new URL('/healthz', url.replace(/^ws/, 'http')).href;

// askRouter resolves to what the router at url knows of a site's health.
async function askRouter(site, url, signal) {
  const { sites } = await api.listSites(signal, url);
  return (sites ?? []).find((s) => s.site === site)?.healthy;
}
