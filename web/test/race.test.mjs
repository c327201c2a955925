import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { DEADLINE_MS, Race, SAMPLES, run, tripsOf } from '../assets/js/race.js';

// play drives a Race through simulated beacons: {site: rtt, or a function that
// gives each trip}, two requests at once. A new connection's first answer takes
// two trips and shows both. It returns when it was decided, and what was known then.
function play(rtts, { failAt = {}, silent = [], blind = false } = {}) {
  const race = new Race(Object.keys(rtts), 0);
  const news = [];
  for (const [site, rtt] of Object.entries(rtts)) {
    if (failAt[site] !== undefined) news.push([failAt[site], () => race.failed(site)]);
    if (failAt[site] !== undefined || silent.includes(site)) continue;
    const trip = typeof rtt === 'function' ? rtt : () => rtt;
    for (let lane = 0; lane < 2; lane++) {
      const [connect, request] = [trip(), trip()];
      let at = connect + request;
      news.push([at, (now) => {
        if (blind) race.warmed(site, now);
        else [connect, request].forEach((took) => race.sampled(site, took, now));
      }]);
      for (let n = 0; blind && n < 2; n++) {
        const took = trip();
        at += took;
        news.push([at, (now) => race.sampled(site, took, now)]);
      }
    }
  }
  news.sort((a, b) => a[0] - b[0]);
  let now = 0;
  for (const [at, tell] of news) {
    const wait = race.decidedIn(now);
    if (now + wait < at) break;
    now = at;
    tell(now);
    if (race.decidedIn(now) === 0) break;
  }
  now += race.decidedIn(now);
  return { at: now, leader: race.leader(), results: race.results() };
}

// The courses are made up by bench/placement, whose model of the rule must decide
// each at the same moment: go test ./bench/placement -run Courses -update
const courses = readFileSync(new URL('race.json', import.meta.url), 'utf8').trim().split('\n').map((line) => JSON.parse(line));

test('the model of the benchmark and the page decide alike', () => {
  assert.ok(courses.length >= 20);
  for (const [n, { trips, news, leader, decided }] of courses.entries()) {
    const race = new Race([], 0);
    trips.forEach((count, site) => race.add([site], 0, count));
    let now = 0;
    for (const { at, site, trips: seen = [], opened, failed } of news) {
      if (now + race.decidedIn(now) < at) break;
      now = at;
      if (failed) race.failed(site);
      else {
        if (opened) race.opened(site, opened);
        if (seen.length === 0) race.warmed(site, now);
        for (const rtt of seen) race.sampled(site, rtt, now);
      }
    }
    now += race.decidedIn(now);
    assert.ok(Math.abs(now - decided) < 1e-6, `course ${n}: decided at ${now}, in the model at ${decided}`);
    assert.equal(race.leader() ?? -1, leader, `course ${n}`);
  }
});

test('over TLS the silent are given three trips', () => {
  const race = new Race(['a', 'b'], 0, 3);
  [10, 10, 10].forEach((rtt) => race.sampled('a', rtt, 30));
  assert.equal(race.decidedIn(30), 8); // 3 × 10 and the slack
});

test('silence says how far a site is at least', () => {
  const race = new Race(['a', 'b', 'c'], 0);
  race.add(['tls'], 0, 3);
  race.opened('b', 10);
  race.warmed('c', 40);
  race.sampled('a', 10, 20);
  assert.deepEqual(race.least(70), { b: 30, c: 30, tls: 23.33 });
  race.failed('b');
  assert.deepEqual(race.waiting(), ['c', 'tls']);
  assert.deepEqual(race.waiting(-1), []);
});

test('the nearest site wins, after two and a half of its own round trips', () => {
  const { at, leader, results } = play({ near: 10, far: 180, farther: 250 });
  assert.equal(leader, 'near');
  assert.equal(at, 26);
  assert.deepEqual(results, { near: 10 });
});

test('where beacons do not show their timing it takes two more', () => {
  const { at, leader } = play({ near: 10, far: 180 }, { blind: true });
  assert.equal(leader, 'near');
  assert.equal(at, 40);
});

test('a site close behind is waited for a moment, since it may still win', () => {
  let n = 0;
  const { leader, results, at } = play({ a: () => [22, 22, 19, 25][n++], b: 20, c: 200 });
  assert.equal(leader, 'a');
  assert.equal(results.a, 19);
  assert.ok(at <= 3 * 20, `decided after ${at} ms`);
  assert.ok(!('c' in results));
});

test('a silent site costs nothing: two and a half trips of the leader rule it out', () => {
  const { leader, at } = play({ near: 40, dead: 1, gone: 5 }, { silent: ['dead', 'gone'] });
  assert.equal(leader, 'near');
  assert.equal(at, 98);
});

test('a leader that falls silent before its third answer does not hold the decision', () => {
  const race = new Race(['a', 'b'], 0);
  race.sampled('a', 10, 20);
  race.sampled('a', 11, 20);
  race.sampled('b', 30, 60);
  assert.equal(race.decidedIn(70), 0);
  assert.equal(race.leader(), 'a');
});

test('what held up the connection of the leader is granted to the silent', () => {
  const race = new Race(['near', 'silent'], 0);
  race.opened('near', 100); // its name took so long to resolve
  [10, 10, 10].forEach((rtt, i) => race.sampled('near', rtt, 120 + 5 * i));
  assert.equal(race.decidedIn(115), 11); // 100 + 2 × 10 and the slack
});

test('the least of the samples counts', () => {
  const race = new Race(['a'], 0);
  [9, 4, 30].forEach((rtt) => race.sampled('a', rtt, 60));
  assert.deepEqual(race.results(), { a: 4 });
  assert.equal(race.decidedIn(60), 0);
});

test('a dead site leaves the race', () => {
  const { leader, at } = play({ dead: 1, alive: 30 }, { failAt: { dead: 3 } });
  assert.equal(leader, 'alive');
  assert.equal(at, 60);
});

test('over many random planets it is decided within 3 trips of the nearest, and hardly ever wrong', () => {
  let seed = 11;
  const random = () => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed / 2147483648; };
  const jitter = () => -5 * Math.log(1 - random());
  const inTrips = [];
  const regrets = [];
  for (let n = 0; n < 2000; n++) {
    const truth = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`s${i}`, 8 + 250 * random()]));
    const dead = random() < 0.3 ? [`s${Math.floor(12 * random())}`] : [];
    const { at, leader } = play(Object.fromEntries(Object.entries(truth).map(([s, rtt]) => [s, () => rtt + jitter()])), { silent: dead });
    const nearest = Math.min(...Object.entries(truth).filter(([s]) => !dead.includes(s)).map(([, rtt]) => rtt));
    inTrips.push(at / nearest);
    regrets.push(truth[leader] - nearest);
  }
  const p = (list, q) => list.sort((a, b) => a - b)[Math.floor(q * list.length)];
  console.log(`decided p50 ${p(inTrips, 0.5).toFixed(2)} trips, regret p90 ${p(regrets, 0.9).toFixed(2)} p99 ${p(regrets, 0.99).toFixed(2)} ms`);
  assert.ok(p(inTrips, 0.5) <= 3.2, `p50 ${p(inTrips, 0.5)} trips`); // jitter of 5 ms a probe is in it
  assert.equal(p(regrets, 0.5), 0);
  assert.ok(p(regrets, 0.99) < 8, `p99 ${p(regrets, 0.99)} ms`);
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

// beacons is a network for run(): {url: ms, or Infinity for never}.
function beacons(rtts) {
  const asked = [];
  const aborted = [];
  const probe = (url, n, signal) => new Promise((resolve, reject) => {
    asked.push(`${url} ${n}`);
    signal.addEventListener('abort', () => { aborted.push(url); reject(signal.reason); }, { once: true });
    if (rtts[url] instanceof Error) reject(rtts[url]);
    else if (rtts[url] < Infinity) setTimeout(() => resolve({ trips: n === 0 ? [rtts[url], rtts[url]] : [rtts[url]] }), n === 0 ? 2 * rtts[url] : rtts[url]);
  });
  return { asked, aborted, probe };
}
const site = (name) => ({ site: name, beacon_url: name });

test('run probes all at once, leaves late ones out and learns on', async () => {
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  const near = beacons({ near: 2 });
  const asked = [];
  const probe = (url, n, signal) => {
    asked.push(`${url} ${n}`);
    return url === 'near' ? near.probe(url, n, signal) : held.then(() => ({ trips: [120, 120] }));
  };
  const r = run([site('near'), site('far')], { probe });
  assert.equal(r.decidedMS, null);
  await r.decided;
  assert.deepEqual(asked.slice(0, 4), ['near 0', 'near 0', 'far 0', 'far 0']);
  assert.deepEqual(r.results(), { near: 2 });
  assert.ok(r.decidedMS > 0);
  release();
  await r.all;
  assert.deepEqual(r.results(), { near: 2, far: 120 });
  assert.ok(asked.filter((a) => a.startsWith('near')).length <= 3, 'four samples come with the first two answers');
});

test('requests to the dead are aborted after the decision', async () => {
  const { probe, aborted } = beacons({ near: 2, dead: Infinity, refused: new Error('refused') });
  const r = run(['near', 'dead', 'refused'].map(site), { probe });
  await r.decided;
  assert.deepEqual(aborted, []);
  await r.all;
  assert.ok(aborted.includes('dead') && !aborted.includes('near'));
  assert.deepEqual(r.lost().sort(), ['dead', 'refused']);
});

test('a race that is called off ends', async () => {
  const { probe, aborted } = beacons({ dead: Infinity });
  const control = new AbortController();
  const r = run([site('dead')], { probe, signal: control.signal });
  control.abort();
  await r.decided;
  await r.all;
  assert.deepEqual(aborted, ['dead', 'dead']);
});

test('round trips are read from Resource Timing', () => {
  const at = (connectStart, secure, connectEnd, requestStart, responseStart, more) => ({
    connectStart, secureConnectionStart: secure, connectEnd, requestStart, responseStart, ...more });
  assert.deepEqual(tripsOf(at(5, 0, 25, 25, 46), 50, 0), { trips: [20, 21], opened: 5 }); // http
  assert.deepEqual(tripsOf(at(5, 25, 47, 47, 68), 70, 0), { trips: [20, 21, 22], opened: 5 }); // https
  assert.deepEqual(tripsOf(at(5, 25, 26, 26, 47), 70, 0).trips, [20, 21]); // TLS in no trip
  assert.deepEqual(tripsOf(at(9, 0, 9, 10, 30), 22, 0), { trips: [20] }, 'a connection that was open');
  assert.deepEqual(tripsOf(at(5, 0, 6, 6, 86), 90, 0).trips, [80], 'a proxy next door is not the site');
  assert.deepEqual(tripsOf(at(5, 5, 25, 25, 46, { nextHopProtocol: 'h3' }), 50, 0).trips.length, 1);
  assert.deepEqual(tripsOf(at(0, 0, 0, 0, 0), 30, 0), { trips: [] }, 'not allowed to see: the first says nothing');
  assert.deepEqual(tripsOf(undefined, 30, 1), { trips: [30] });
});
