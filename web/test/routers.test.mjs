import test from 'node:test';
import assert from 'node:assert/strict';
import { Routers, hedged } from '../assets/js/routers.js';

const sites = [
  { site: 'eu', router_url: 'https://eu', beacon_url: 'https://eu/v1/beacon', brain_url: 'wss://eu', distances: { us: { rtt_ms: 80 }, ap: { rtt_ms: 200 } } },
  { site: 'ap', router_url: 'https://ap', beacon_url: 'https://ap/v1/beacon' },
  { site: 'us', beacon_url: 'https://us.example:8443/v1/beacon' },
  { site: 'sa', beacon_url: '' },
];
const urls = (list) => list.map((r) => r.url);

test('nearest first: as measured, else as the entry sees it', () => {
  const r = new Routers();
  assert.deepEqual(urls(r.homeFirst()), [''], 'before anything is known there is the page itself');
  r.learn({ entry: 'eu', sites });
  assert.deepEqual(urls(r.order()), ['', 'https://us.example:8443', 'https://ap']);
  r.measured({ ap: 10, us: 70 });
  assert.deepEqual(urls(r.order()), ['https://ap', 'https://us.example:8443', '']);
  assert.deepEqual(urls(r.homeFirst()), ['', 'https://ap', 'https://us.example:8443']);
  assert.deepEqual(urls(r.order({ without: ['ap'] })), ['https://us.example:8443', '']);
  assert.deepEqual(urls(r.homeFirst({ without: ['eu'] })), ['https://ap', 'https://us.example:8443'], 'the dead origin is not asked');
  assert.equal(r.rtt('ap'), 10);
  assert.equal(r.rtt('eu'), 0);
});

test('another router does not rename the origin', () => {
  const r = new Routers();
  r.learn({ entry: 'eu', sites });
  r.learn({ entry: 'ap', sites: [{ site: 'eu', router_url: 'https://eu', brain_url: 'wss://eu2' }] }, 'https://ap');
  assert.deepEqual(r.get('eu'), { site: 'eu', url: '', brain: 'wss://eu2' });
});

const after = (ms, value) => new Promise((resolve) => { setTimeout(() => resolve(value), ms); });
const no = (status, type = '') => Object.assign(new Error('no'), { problem: { status, type } });

test('hedged: the next one when one is silent, or cannot be reached', async () => {
  const asked = [];
  const signals = [];
  const call = (how) => (r, signal) => { asked.push(r); signals.push(signal); return how[r](); };
  assert.equal(await hedged(['a', 'b', 'c'], 10, call({ a: () => new Promise(() => {}), b: () => after(1, 'b') })), 'b');
  assert.deepEqual(asked.splice(0), ['a', 'b']);
  assert.ok(signals[0].aborted);
  assert.equal(await hedged(['a', 'b'], 10_000, call({ a: () => Promise.reject(no(0)), b: () => after(1, 'b') })), 'b');
  assert.equal(await hedged(['a', 'b'], 10_000, call({ a: () => Promise.reject(no(503, '/problems/unavailable')), b: () => after(1, 'b') })), 'b');
  assert.equal(await hedged(['a', 'b'], 5, call({ a: () => after(30, 'a'), b: () => Promise.reject(no(0)) })), 'a', 'a late answer is one');
});

test('hedged: a no is an answer; none at all is the last error', async () => {
  await assert.rejects(hedged(['a', 'b'], 10_000, (r) => (r === 'a' ? Promise.reject(no(503, '/problems/no-site')) : assert.fail('asked on'))), (e) => e.problem.status === 503);
  await assert.rejects(hedged(['a', 'b'], 10_000, () => Promise.reject(no(0))), (e) => e.problem.status === 0);
  await assert.rejects(hedged([], 1, () => {}));
});
