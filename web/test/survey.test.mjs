import test from 'node:test';
import assert from 'node:assert/strict';
import { MAX_RACE, contestants, survey } from '../assets/js/survey.js';

const view = (site, more = {}) => ({ site, beacon_url: `b/${site}`, healthy: true, apps: { x: {} }, ...more });
const names = (list) => list.map((s) => s.site);

test('the unhealthy, and those without the app, are not asked', () => {
  const sites = [view('a'), view('b', { healthy: false }), view('c', { apps: {} }), view('d', { beacon_url: '' }), view('e')];
  assert.deepEqual(names(contestants({ sites, probe: ['e', 'c', 'a', 'b'] }, 'x')), ['e', 'a']);
  assert.deepEqual(names(contestants({ sites }, 'nowhere')), ['a', 'c', 'e'], 'better a number than none');
  assert.deepEqual(names(contestants({ sites }, 'x')), ['a', 'e'], 'a router that names none');
});

// A planet of n sites on a line, we at 0; the router knows the line, but not us.
function planet(n, { dead = [], late = [] } = {}) {
  const sites = Array.from({ length: n }, (_, i) => view(`s${i}`));
  const rtt = (site) => 2 + Math.abs(Number(site.slice(1)) - 137) / 4;
  const asked = [];
  const probe = (url, k, signal) => new Promise((resolve, reject) => {
    const site = url.slice(2);
    if (k === 0 && !asked.includes(site)) asked.push(site);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    if (!dead.includes(site)) setTimeout(() => resolve({ trips: [rtt(site), rtt(site)] }), late.includes(site) ? 300 : 1);
  });
  const questions = [];
  const ask = async (request) => {
    questions.push(structuredClone(request));
    const best = Object.entries(request.rtt_ms).sort((a, b) => a[1] - b[1])[0];
    const next = best && best[1] > 2 ? [137] : [];
    return { probe: next.map((i) => `s${i}`), nearest: best?.[0] };
  };
  return { sites, asked, probe, ask, questions };
}

test('hundreds of sites: a handful of probes, as the router advises', async () => {
  const p = planet(300);
  const s = survey({ sites: p.sites, probe: ['s0', 's100', 's200', 's290'] }, 'x', { ask: p.ask, probe: p.probe });
  await s.decided;
  assert.equal(s.leader(), 's137');
  assert.deepEqual(p.asked, ['s0', 's100', 's200', 's290', 's137']);
  assert.equal(s.rounds, 2);
  assert.equal(s.probed, 5);
  // On a busy machine an answer may come too late for its round; then the router is told so.
  const { rtt_ms: known, silent_ms: silent } = p.questions[0];
  assert.deepEqual([...Object.keys(known), ...Object.keys(silent)].sort(), ['s0', 's100', 's200', 's290']);
  assert.ok(s.decidedMS > 0);
  await s.all;
});

test('a round does not wait for a site that cannot win; the router is told how far it is at least', async () => {
  const p = planet(300, { late: ['s0'], dead: ['s290'] });
  const s = survey({ sites: p.sites, probe: ['s0', 's120', 's290'] }, 'x', { ask: p.ask, probe: p.probe });
  await s.decided;
  assert.equal(s.leader(), 's137');
  const { rtt_ms: known, silent_ms: silent, failed } = p.questions[0];
  assert.deepEqual(known, { s120: 6.25 });
  assert.deepEqual(Object.keys(silent), ['s0', 's290']);
  assert.ok(silent.s0 >= 6.25 && silent.s0 < 150, `at least ${silent.s0} ms`);
  assert.deepEqual(failed, []);
  await s.all;
  assert.equal(s.results().s0, 36.25, 'what comes late counts all the same');
});

test('where nobody answers for a second, all have failed', async () => {
  const p = planet(300, { dead: ['s100', 's200'] });
  const s = survey({ sites: p.sites, probe: ['s100', 's200'] }, 'x', { ask: async (q) => ({ probe: q.failed.length === 2 ? ['s137'] : [] }), probe: p.probe });
  await s.decided;
  assert.equal(s.leader(), 's137');
  assert.equal(s.rounds, 2);
});

test('a router without advice, or one that repeats itself, ends it', async () => {
  for (const ask of [async () => { throw new Error('503'); }, async () => ({ probe: ['s0', 'unknown'] }), async () => ({})]) {
    const p = planet(300);
    const s = survey({ sites: p.sites, probe: ['s0'] }, 'x', { ask, probe: p.probe });
    await s.decided;
    assert.equal(s.leader(), 's0');
    assert.equal(s.rounds, 1);
  }
});

test('few sites are raced at once, and nobody is asked for advice', async () => {
  const p = planet(MAX_RACE);
  const s = survey({ sites: p.sites, probe: p.sites.map((v) => v.site) }, 'x', { ask: () => assert.fail('asked'), probe: p.probe });
  await s.decided;
  await s.all;
  assert.equal(p.asked.length, MAX_RACE);
  assert.equal(s.leader(), 's23');
});
