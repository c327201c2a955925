// race.js: which site is nearest, decided no later than it has to be.
//
// All sites are probed at once. A site's number is the least of three round
// trips on a connection warmed by a request that does not count. Because the
// nearest site also answers first, the race is decided as soon as the leader has
// its three samples and no silent site can still beat it: about five of the
// *leader's* round trips after the start, however far the others are. Sites
// that had not answered by then are left out; the router predicts those.
//
// Race is the pure core: it is told what happened and when. run() is the part
// that sends requests.

export const SAMPLES = 3;
export const DEADLINE_MS = 2500;

// A new connection costs at least two round trips before its first answer: one
// to open it, one for the request. So a site that was silent for t is at least t/2 away.
const WARMING_TRIPS = 2;

export class Race {
  #sites = new Map();
  #started;

  constructor(names, now) {
    this.#started = now;
    for (const name of names) {
      this.#sites.set(name, { samples: 0, best: Infinity, since: now, warm: false, failed: false });
    }
  }

  // warmed: the site's first answer came; what follows counts.
  warmed(name, now) {
    const site = this.#sites.get(name);
    if (!site) return;
    site.warm = true;
    site.since = now;
  }

  // sampled: a counting round trip of rtt ms was completed at now.
  sampled(name, rtt, now) {
    const site = this.#sites.get(name);
    if (!site || !(rtt >= 0)) return;
    site.samples += 1;
    site.best = Math.min(site.best, rtt);
    site.since = now;
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
  // any news it would be; Infinity where only an answer can decide it.
  decidedIn(now) {
    const left = Math.max(0, this.#started + DEADLINE_MS - now);
    if (left === 0) return 0;
    const open = [...this.#sites.values()].filter((s) => !s.failed);
    if (open.length === 0) return 0;
    const leading = this.#sites.get(this.leader());
    if (!leading) return left;
    if (leading.samples < SAMPLES && !leading.failed) return left;
    let wait = 0;
    for (const site of open) {
      if (site === leading || site.samples > 0) continue; // answered, and farther
      const trips = site.warm ? 1 : WARMING_TRIPS;
      wait = Math.max(wait, site.since + leading.best * trips - now);
    }
    return Math.min(wait, left);
  }

  // results holds what was measured, in ms, by site.
  results() {
    const out = {};
    for (const [name, site] of this.#sites) {
      if (site.samples > 0) out[name] = Math.round(site.best * 100) / 100;
    }
    return out;
  }
}

// run races the beacons: sites are [{site, beacon_url}]. The promise `decided`
// fulfils when the race is; probing goes on after it, so that results() knows
// more by the time Play is pressed. onChange is called with each new number.
export function run(sites, { signal, onChange = () => {}, probe = fetchBeacon } = {}) {
  const race = new Race(sites.map((s) => s.site), performance.now());
  let timer;
  let settle;
  const decided = new Promise((resolve) => { settle = resolve; });
  const look = () => {
    clearTimeout(timer);
    const wait = race.decidedIn(performance.now());
    if (wait <= 0 || signal?.aborted) settle();
    else timer = setTimeout(look, wait);
  };
  const one = async ({ site, beacon_url: url }) => {
    try {
      await probe(url, 0, signal);
      race.warmed(site, performance.now());
      for (let n = 1; n <= SAMPLES; n++) {
        const rtt = await probe(url, n, signal);
        race.sampled(site, rtt, performance.now());
        onChange(race.results());
        look();
      }
    } catch {
      race.failed(site);
    }
    look();
  };
  const all = Promise.all(sites.map(one)).finally(() => { clearTimeout(timer); settle(); });
  look();
  return { decided, all, results: () => race.results(), leader: () => race.leader() };
}

let probes = 0;

// fetchBeacon is one round trip in ms. Resource timing leaves out the time the
// page itself was busy, where the beacon allows us to see it.
async function fetchBeacon(url, n, signal) {
  const unique = new URL(url, location.href);
  unique.searchParams.set('n', `${++probes}`);
  const start = performance.now();
  const response = await fetch(unique, {
    cache: 'no-store', credentials: 'omit', redirect: 'error', priority: 'high',
    signal: signal ?? AbortSignal.timeout(DEADLINE_MS),
  });
  const wall = performance.now() - start;
  if (!response.ok) throw new Error(`beacon answered ${response.status}`);
  await response.arrayBuffer(); // frees the connection for the next probe
  const entry = performance.getEntriesByName(unique.href, 'resource').at(-1);
  const precise = entry?.requestStart > 0 ? entry.responseStart - entry.requestStart : NaN;
  return precise > 0 ? Math.min(precise, wall) : wall;
}
