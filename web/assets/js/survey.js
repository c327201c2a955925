// survey.js: which sites to measure, and in what order: all of them at once
// where they are few; where they are many the router says which to begin with,
// and after each round of answers, which to measure next (POST /v1/probes), so
// that a handful of probes decides among hundreds. A round ends as a race does:
// a site that is silent and cannot be the nearest is not waited for. That it was
// silent so long says how far it is at least, which the router is told.

import { run } from './race.js';

export const MAX_RACE = 24; // as in internal/wire
const MAX_ROUNDS = 8;
const ROUND_MS = 1000; // a beacon that is silent for so long has failed

// contestants gives the sites of a wire.SitesResponse that are worth measuring
// for an app, the likeliest first.
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
      // The router has no more advice: what was measured is what there is.
    }
    done();
    finish();
  })();
  out.all = Promise.all([finished, running.all]);
  return out;
}
