import test from 'node:test';
import assert from 'node:assert/strict';
import { DEADLINE_MS, Race, SAMPLES, run } from '../assets/js/race.js';

// play drives a Race through simulated beacons: {site: rtt}. It returns when it
// was decided, and what was known then.
function play(rtts, { failAt = {} } = {}) {
  const race = new Race(Object.keys(rtts), 0);
  const news = [];
  for (const [site, rtt] of Object.entries(rtts)) {
    if (failAt[site] !== undefined) news.push([failAt[site], () => race.failed(site)]);
    else {
      news.push([2 * rtt, () => race.warmed(site, 2 * rtt)]); // a new connection: two trips
      for (let n = 1; n <= SAMPLES; n++) news.push([(2 + n) * rtt, () => race.sampled(site, rtt, (2 + n) * rtt)]);
    }
  }
  news.sort((a, b) => a[0] - b[0]);
  let now = 0;
  for (const [at, tell] of news) {
    const wait = race.decidedIn(now);
    if (now + wait < at) break;
    now = at;
    tell();
    if (race.decidedIn(now) === 0) break;
  }
  now += race.decidedIn(now);
  return { at: now, leader: race.leader(), results: race.results() };
}

test('the nearest site wins, after about five of its own round trips', () => {
  const { at, leader, results } = play({ near: 10, far: 180, farther: 250 });
  assert.equal(leader, 'near');
  assert.equal(at, 50);
  assert.deepEqual(results, { near: 10 });
});

test('a site close behind is waited for, since it may still win', () => {
  const { leader, results } = play({ a: 21, b: 20, c: 200 });
  assert.equal(leader, 'b');
  assert.ok('a' in results);
  assert.ok(!('c' in results));
});

test('a silent site does not hold the decision once it cannot win', () => {
  const race = new Race(['near', 'silent'], 0);
  race.warmed('near', 20);
  for (let n = 1; n <= SAMPLES; n++) race.sampled('near', 40, 20 + n * 40);
  assert.equal(race.decidedIn(0) > 0, true);
  assert.equal(race.decidedIn(79), 1); // at 80 ms silent is at least 40 away
  assert.equal(race.decidedIn(140), 0);
});

test('the least of the samples counts', () => {
  const race = new Race(['a'], 0);
  race.warmed('a', 5);
  [9, 4, 30].forEach((rtt) => race.sampled('a', rtt, 60));
  assert.deepEqual(race.results(), { a: 4 });
  assert.equal(race.decidedIn(60), 0);
});

test('a dead site leaves the race', () => {
  const { leader, at } = play({ dead: 1, alive: 30 }, { failAt: { dead: 3 } });
  assert.equal(leader, 'alive');
  assert.equal(at, 150);
});

test('no site at all, or all dead: decided at once, with nothing', () => {
  assert.equal(new Race([], 0).decidedIn(0), 0);
  const race = new Race(['a'], 0);
  race.failed('a');
  assert.equal(race.decidedIn(1), 0);
  assert.deepEqual(race.results(), {});
});

test('nobody answers: the deadline decides', () => {
  const race = new Race(['a'], 100);
  assert.equal(race.decidedIn(100), DEADLINE_MS);
  assert.equal(race.decidedIn(100 + DEADLINE_MS), 0);
});

test('run probes all at once, leaves late ones out and learns on', async () => {
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  const order = [];
  const probe = async (url, n) => {
    order.push(`${url} ${n}`);
    if (url === 'far') await held;
    return url === 'far' ? 300 : 0.01;
  };
  const sites = [{ site: 'n', beacon_url: 'near' }, { site: 'f', beacon_url: 'far' }];
  const r = run(sites, { probe });
  await r.decided;
  assert.deepEqual(order.slice(0, 2), ['near 0', 'far 0']);
  assert.deepEqual(Object.keys(r.results()), ['n']);
  release();
  await r.all;
  assert.deepEqual(r.results(), { n: 0.01, f: 300 });
  assert.equal(order.filter((o) => o.startsWith('near')).length, 1 + SAMPLES);
});
