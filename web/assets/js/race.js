// race.js: which site is nearest, decided as early as possible.
//
// All sites are probed at once, each by two parallel requests. A site's number is
// the shortest of at least three round trips. To open a connection is a round trip
// too, and Resource Timing shows it (connectStart → connectEnd) beside that of the
// request: so two new connections give four samples with their first answers,
// after two round trips, without warming up. With TLS the handshake is a third.
//
// Because the nearest site also answers first, the race is decided as soon as
// the leader has its samples and no silent site can still beat it: some two and
// a half of the *leader's* round trips after the start, three and a half with
// TLS, however far away or dead the others are. Sites that have not answered by
// then are left out.
//
// Race is the pure core: it takes what happened and when. run() is the part that
// sends requests. bench/placement has the same core in Go, to measure the rule;
// test/race.json tests that both agree.

export const SAMPLES = 3;
export const DEADLINE_MS = 2500; // nobody answered: give up
const LINGER_MS = 1500; // after the decision, for sites that are only far away

// Round trips of a new connection before its first answer: open, TLS handshake,
// request. So a site that was silent for t is at least t divided by this away.
const TRIPS = 2;
const TRIPS_TLS = 3;

// How much longer than that a silent site gets: jitter may have delayed it, and
// it has not had several attempts yet.
const SLACK = 1.2;
const SLACK_MS = 2;

const LANES = 2; // requests to a site at once

export class Race {
  #sites = new Map();
  #started;

  constructor(names, now, trips) {
    this.add(names, now, trips);
  }

  // add lets further sites take part from now on, whose first answers take so
  // many trips.
  add(names, now, trips = TRIPS) {
    this.#started = now;
    for (const name of names) {
      if (this.#sites.has(name)) continue;
      this.#sites.set(name, { trips, samples: 0, best: Infinity, began: now, opened: now, since: now, warm: false, failed: false });
    }
  }

  // warmed: the site's first answer came, but the browser hides its timing.
  warmed(name, now) {
    const site = this.#sites.get(name);
    if (!site) return;
    site.warm = true;
    site.since = now;
  }

  // sampled: a round trip of rtt ms was completed at now.
  sampled(name, rtt, now) {
    const site = this.#sites.get(name);
    if (!site || !(rtt >= 0)) return;
    site.samples += 1;
    site.best = Math.min(site.best, rtt);
    site.since = now;
  }

  // opened: the site's first connection began only then, for example after a DNS
  // lookup. What delayed it delayed the others too.
  opened(name, at) {
    const site = this.#sites.get(name);
    if (site && site.opened === site.began && at > site.began) site.opened = at;
  }

  failed(name) {
    const site = this.#sites.get(name);
    if (site) site.failed = true;
  }

  // leader is the name of the nearest site so far, or null.
  leader() {
    let name = null;
    let best = Infinity;
    for (const [candidate, site] of this.#sites) {
      if (site.samples > 0 && site.best < best) [name, best] = [candidate, site.best];
    }
    return name;
  }

  // decidedIn is 0 when the race is decided, else after how many ms without
  // any news it would be.
  decidedIn(now) {
    const left = Math.max(0, this.#started + DEADLINE_MS - now);
    if (left === 0) return 0;
    const open = [...this.#sites.values()].filter((s) => !s.failed);
    if (open.length === 0) return 0;
    const leading = this.#sites.get(this.leader());
    if (!leading) return left;
    const { best } = leading;
    let wait = 0;
    if (leading.samples < SAMPLES && !leading.failed) {
      wait = leading.since + 3 * best + 20 - now; // not for ever: the leader may have died
    }
    const heldUp = leading.opened - leading.began;
    for (const site of open) {
      if (site === leading || site.samples >= SAMPLES) continue;
      if (site.samples === 0) {
        const since = site.warm ? site.since : Math.max(site.opened, site.began + heldUp);
        wait = Math.max(wait, since + best * (site.warm ? 1 : site.trips) * SLACK + SLACK_MS - now);
      } else if (site.best < best * 1.2 + 2) {
        // Close behind, with samples pending: wait a moment, not a round trip.
        const due = site.since + site.best * 1.1 + 1 - now;
        if (due <= best / 2 + 1) wait = Math.max(wait, due);
      }
    }
    return Math.min(Math.max(0, wait), left);
  }

  // answered reports whether every site has answered or failed.
  answered() {
    return [...this.#sites.values()].every((s) => s.failed || s.samples > 0);
  }

  // silent names the sites without a number; lost those of them that failed;
  // waiting those that did not fail, and began before.
  silent() {
    return this.#names((s) => s.samples === 0);
  }

  lost() {
    return this.#names((s) => s.failed && s.samples === 0);
  }

  waiting(before = Infinity) {
    return this.#names((s) => !s.failed && s.samples === 0 && s.began <= before);
  }

  // least gives, for the sites that have not answered, their least distance in ms:
  // nearer ones would have answered by now.
  least(now) {
    const out = {};
    for (const [name, site] of this.#sites) {
      if (site.samples > 0 || site.failed) continue;
      const ms = site.warm ? now - site.since : (now - site.opened) / site.trips;
      out[name] = Math.round(Math.max(0, ms) * 100) / 100;
    }
    return out;
  }

  // results holds what was measured, in ms, by site.
  results() {
    const out = {};
    for (const [name, site] of this.#sites) {
      if (site.samples > 0) out[name] = Math.round(site.best * 100) / 100;
    }
    return out;
  }

  #names(fits) {
    return [...this.#sites].filter(([, site]) => fits(site)).map(([name]) => name);
  }
}

// run races the beacons: sites are [{site, beacon_url}]. The promise `decided`
// fulfils when the race is decided. Sites that have answered by then, or do so
// soon after, complete their samples, so that results() knows more when Play is
// pressed; requests to sites that stay silent are aborted. add(sites) lets more take part, and
// round(ms) waits until all have answered or the silent cannot win any more, giving
// up those that were silent for ms. onChange is called with each new number.
export function run(sites, { signal, onChange = () => {}, probe = fetchBeacon } = {}) {
  const started = performance.now();
  const race = new Race([], started);
  const controls = new Map(); // site → AbortController
  const running = new Set();
  const listeners = new Set(); // called after each news
  let timer;
  let linger;
  let settle;
  const out = { decidedMS: null };
  const decided = new Promise((resolve) => { settle = resolve; });
  const abort = (names) => { for (const name of names) controls.get(name)?.abort(); };
  signal?.addEventListener('abort', () => { abort(controls.keys()); done(); }, { once: true });

  function done() {
    clearTimeout(timer);
    clearTimeout(linger);
    out.decidedMS = Math.round((performance.now() - started) * 10) / 10;
    linger = signal?.aborted ? undefined : setTimeout(() => abort(race.silent()), LINGER_MS);
    settle();
  }
  function look() {
    for (const listener of listeners) listener();
    clearTimeout(timer);
    if (out.decidedMS !== null) return;
    const wait = race.decidedIn(performance.now());
    if (wait <= 0 || signal?.aborted) done();
    else timer = setTimeout(look, wait);
  }
  async function one({ site, beacon_url: url }) {
    const control = new AbortController();
    controls.set(site, control);
    const patience = setTimeout(() => control.abort(), DEADLINE_MS);
    let got = 0;
    const lane = async () => {
      // A beacon that never gives a number is given up after some attempts.
      for (let n = 0; got < SAMPLES && n <= SAMPLES; n++) {
        const { trips, opened } = await probe(url, n, control.signal);
        const now = performance.now();
        if (opened) race.opened(site, opened);
        if (trips.length === 0) race.warmed(site, now);
        for (const rtt of trips) race.sampled(site, rtt, now);
        got += trips.length;
        if (trips.length > 0) {
          clearTimeout(patience);
          onChange(race.results());
        }
        look();
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: LANES }, lane));
    if (lanes.every((l) => l.status === 'rejected')) race.failed(site); // its answers so far count
    clearTimeout(patience);
    look();
  }
  function add(more) {
    const fresh = more.filter((s) => !controls.has(s.site));
    clearTimeout(linger); // add() takes care of the silent ones
    const now = performance.now();
    for (const site of fresh) {
      race.add([site.site], now, site.beacon_url.startsWith('https:') ? TRIPS_TLS : TRIPS);
    }
    for (const site of fresh) {
      const run = one(site).finally(() => running.delete(run));
      running.add(run);
    }
    return fresh.length;
  }
  function round(ms) {
    return new Promise((resolve) => {
      let wake;
      const check = () => {
        clearTimeout(wake);
        const now = performance.now();
        const overdue = race.waiting(now - ms);
        for (const name of overdue) race.failed(name);
        abort(overdue);
        const left = race.answered() ? 0 : race.decidedIn(now);
        if (left <= 0 || signal?.aborted) {
          listeners.delete(check);
          resolve();
        } else {
          wake = setTimeout(check, Math.min(left, ms));
        }
      };
      listeners.add(check);
      check();
    });
  }
  add(sites);
  look();
  const all = (async () => {
    while (running.size > 0) await Promise.all(running);
    clearTimeout(linger);
  })();
  return Object.assign(out, {
    decided, all, add, round,
    results: () => race.results(), leader: () => race.leader(), lost: () => race.lost(),
    least: () => race.least(performance.now()),
  });
}

let probes = 0;

// fetchBeacon asks once and gives the round trips that this took, in ms, and
// when the connection was begun if it was a new one.
async function fetchBeacon(url, n, signal) {
  const unique = new URL(url, location.href);
  unique.searchParams.set('n', `${++probes}`);
  const start = performance.now();
  const response = await fetch(unique, { cache: 'no-store', redirect: 'error', priority: 'high', signal });
  const wall = performance.now() - start;
  if (!response.ok) throw new Error(`beacon answered ${response.status}`);
  await response.arrayBuffer(); // frees the connection for the next probe
  return tripsOf(performance.getEntriesByName(unique.href, 'resource').at(-1), wall, n);
}

// tripsOf reads round trips out of a PerformanceResourceTiming, which leaves
// out the time that the page itself was busy. Without one (the beacon does not
// allow us to see it) the wall clock has to do, and the first request, which
// may have opened a connection, says nothing. Pure.
export function tripsOf(entry, wall, n) {
  if (!(entry?.requestStart > 0)) return { trips: n === 0 ? [] : [wall] };
  const request = entry.responseStart - entry.requestStart;
  if (!(request > 0)) return { trips: n === 0 ? [] : [wall] };
  const trips = [Math.min(request, wall)];
  const tcp = (entry.secureConnectionStart || entry.connectEnd) - entry.connectStart;
  if (!(entry.connectEnd > entry.connectStart)) return { trips };
  // A connection to a near proxy, or one resumed without a round trip, is no
  // sample: it must take about as long as the request did.
  if (tcp >= 0.6 * request && entry.nextHopProtocol !== 'h3') trips.unshift(tcp);
  const tls = entry.secureConnectionStart > 0 ? entry.connectEnd - entry.secureConnectionStart : 0;
  if (tls >= 0.6 * request && trips.length === 2) trips.push(tls);
  return { trips, opened: entry.connectStart };
}
