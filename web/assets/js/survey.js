// survey.js: which sites to measure, and in what order: all at once where they are
// few. Where they are many, the router says which to begin with and, after each
// round of answers, which to measure next (POST /v1/probes), so that a few probes
// decide among hundreds of sites. A round ends as a race does: it does not wait for
// a silent site that cannot be the nearest. How long a site was silent says how far
// it is at least; the router gets that too.

import { run } from './race.js';

export const MAX_RACE = 24; // as in internal/wire
const MAX_ROUNDS = 8;
const ROUND_MS = 1000; // a beacon that is silent for so long has failed

// contestants gives the sites of a wire.SitesResponse that are worth measuring
// for an app, the most likely first.
export function contestants({ sites = [], probe }, app) {
  const open = sites.filter((s) => s.healthy && s.beacon_url);
  const place = new Map((probe ?? []).map((site, i) => [site, i]));
  open.sort((a, b) => (place.get(a.site) ?? Infinity) - (place.get(b.site) ?? Infinity) || 0);
  if (sites.length > MAX_RACE) return open;
  const having = open.filter((s) => s.apps && app in s.apps);
  return having.length > 0 ? having : open;
}

// survey measures. ask(wire.ProbeRequest) gives a wire.ProbeResponse. It
// returns what race.run() does; `decided` waits for all rounds. rounds is how
// many there were so far, probed how many sites took part.
export function survey(response, app, { ask, race = run, ...options }) {
  const open = contestants(response, app);
  const many = (response.sites ?? []).length > MAX_RACE;
  const first = new Set(response.probe ?? []);
  const begin = many && first.size > 0 ? open.filter((s) => first.has(s.site)) : open.slice(0, MAX_RACE);
  const started = performance.now();
  const running = race(begin, options);
  const out = { ...running, rounds: 1, probed: begin.length, decidedMS: null };
  const done = () => { out.decidedMS = Math.round((performance.now() - started) * 10) / 10; };
  if (!many) {
    out.decided = running.decided.then(done);
    return out;
  }
  let finish;
  const finished = new Promise((resolve) => { finish = resolve; });
  out.decided = (async () => {
    const byName = new Map(open.map((s) => [s.site, s]));
    try {
      while (out.rounds < MAX_ROUNDS && !options.signal?.aborted) {
        await running.round(ROUND_MS);
        const { probe } = await ask({ rtt_ms: running.results(), silent_ms: running.least(), failed: running.lost() });
        const added = running.add((probe ?? []).map((name) => byName.get(name)).filter(Boolean));
        if (added === 0) break;
        out.rounds += 1;
        out.probed += added;
      }
      await running.round(ROUND_MS);
    } catch {
      // The router has no more advice: use what was measured.
    }
    done();
    finish();
  })();
  out.all = Promise.all([finished, running.all]);
  return out;
}
