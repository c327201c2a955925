import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Parser } from '../assets/js/console/events.js';
import { fps, many, millis, number, rate, share, short, since, span, when } from '../assets/js/console/format.js';
import { labels, links, placeOf, spots } from '../assets/js/console/map.js';
import { KINDS, Model, keyOf } from '../assets/js/console/model.js';
import { read, write } from '../assets/js/console/route.js';
import { arrange, keep, scrollTo, step, windowOf } from '../assets/js/console/rows.js';
import { roomOf } from '../assets/js/console/sites.js';
import { LIMITS, PARTS, shortOf, verdict } from '../assets/js/console/verdict.js';
import { variablesOf } from '../assets/js/console/apps.js';
import { whereIs, windowOf as mapWindow } from '../assets/js/console/world.js';

const golden = (name) => JSON.parse(readFileSync(new URL(`../../internal/wire/testdata/${name}.json`, import.meta.url), 'utf8'));

test('a model is what the last snapshot and all changes after it say', () => {
  const model = new Model();
  const s = (id, more = {}) => ({ session: id, site: 'a', ...more });
  assert.deepEqual([...model.apply('snapshot', { time: '2026-03-04T05:06:07Z', sites: [{ site: 'a' }, { site: 'b' }], sessions: [s('1')], more: true })], ['sites', 'sessions']);
  assert.equal(model.complete, false, 'more of it follows');
  model.apply('change', { sessions: [s('2')], nodes: [{ site: 'a', id: 'n1', name: 'one' }] });
  assert.equal(model.complete, true);
  assert.equal(model.time, Date.parse('2026-03-04T05:06:07Z'));
  model.apply('change', { sessions: [s('1', { state: 'streaming' }), s('3')], gone_sessions: ['2', 'never'], gone_sites: ['b'] });
  assert.deepEqual([...model.sessions.keys()], ['1', '3']);
  assert.equal(model.sessions.get('1').state, 'streaming');
  assert.deepEqual([...model.sites.keys()], ['a']);
  assert.equal(model.nodeOf({ site: 'a', node: 'one' }).id, 'n1');
  model.apply('change', { gone_nodes: ['a/n1'] });
  assert.equal(model.nodeOf({ site: 'a', node: 'one' }), undefined, 'what is gone is found no more');
  const changed = model.apply('snapshot', { sites: [{ site: 'c' }] });
  assert.deepEqual([[...changed].sort(), model.sessions.size, [...model.sites.keys()]], [['sessions', 'sites'], 0, ['c']]);
  for (const [name, event] of [['change', null], ['change', 'x'], ['other', { sites: [{ site: 'd' }] }], ['change', { sites: 7, gone_apps: {} }]]) assert.equal(model.apply(name, event).size, 0);
});

test('keys and names are those of the wire', () => {
  const event = golden('console_event');
  const model = new Model();
  model.apply('snapshot', event);
  for (const kind of KINDS) {
    assert.ok(event[kind].length > 0 && Array.isArray(event[`gone_${kind}`]), kind);
    for (const item of event[kind]) assert.ok(!keyOf(kind, item).includes('undefined'), kind);
    assert.equal(model[kind].size, new Set(event[kind].map((item) => keyOf(kind, item))).size);
  }
  const v = verdict({ measured: golden('measured'), state: 'streaming', now: Date.parse(golden('measured').at) });
  assert.ok(v.findings.length > 8 && !JSON.stringify(v).includes('undefined') && !JSON.stringify(v).includes('NaN'), JSON.stringify(v));
});

test('events are read however they are cut', () => {
  const text = ': hello\n\nid: 7\nevent: snapshot\ndata: {"a":\ndata: 1}\n\r\nevent: change\r\ndata:{"b":2}\r\n\r\nid: 9\n\n: still here\n\n';
  const want = [{ name: 'snapshot', data: '{"a":\n1}', id: '7' }, { name: 'change', data: '{"b":2}', id: '7' }];
  for (let size = 1; size < text.length + 1; size += 1) {
    const parser = new Parser();
    const got = [];
    for (let i = 0; i < text.length; i += size) got.push(...parser.take(text.slice(i, i + size)));
    assert.deepEqual(got, want, `in pieces of ${size}`);
  }
  assert.throws(() => new Parser().take('x'.repeat((16 << 20) + 1)), RangeError);
});

const good = { at: '2026-03-04T05:06:07Z', rtt_ms: 20, loss: 0.001, bitrate_kbps: 4000, target_kbps: 6000, fps: 30, paints: 30, capture_ms: 2, encode_ms: 8, queue_ms: 5, inject_ms: 3, page: { fps: 30, dropped: 0, frozen_ms: 0, decode_ms: 4, buffer_ms: 10, concealed: 0 } };
const at = Date.parse(good.at) + 5000;
const judge = (but = {}, page = {}, more = {}) => verdict({ measured: { ...good, ...but, page: page && { ...good.page, ...page } }, state: 'streaming', now: at, ...more });

test('why a session is slow', () => {
  for (const [cause, but, page, evidence] of [
    ['none', {}, {}, ''],
    ['none', { paints: 0, fps: 0, bitrate_kbps: 40, target_kbps: 100, inject_ms: 0 }, { fps: 0 }, 'which is enough for this picture'], // nothing moves
    ['none', { paints: 60, fps: 30 }, {}, ''], // 30 are enough
    ['network', { rtt_ms: LIMITS.rtt_ms }, {}, 'Round trip 120 ms (limit: 120 ms)'],
    ['network', { loss: 0.08 }, {}, '8.0 % of the packets lost (limit: 5.0 %)'],
    ['network', { queue_ms: 150 }, {}, 'Packets wait 150 ms in the network'],
    ['network', { target_kbps: 900, bitrate_kbps: 880 }, {}, 'The network takes 900 kbit/s, all of which the picture needs'],
    ['network', {}, { concealed: 0.1 }, '10 % of the sound lost'],
    ['network', { loss: 0.1, fps: 12 }, { fps: 11, frozen_ms: 300 }, 'stands still for 300 ms of each second'], // what follows from it is the network's
    ['encoder', { encode_ms: 50, fps: 15 }, { fps: 15 }, 'A picture takes 52 ms'],
    ['encoder', { fps: 18 }, { fps: 18 }, '18 pictures a second sent, of 30 that the app paints'],
    ['browser', {}, { fps: 14 }, '14 pictures a second shown, of 30 sent'],
    ['browser', {}, { dropped: 12 }, '18 pictures a second shown'],
    ['browser', {}, { frozen_ms: 200 }, 'stands still for 200 ms of each second'],
    ['browser', {}, { decode_ms: 45 }, '45 ms to decode'],
    ['app', { inject_ms: 120 }, {}, 'Input reaches its display after 120 ms'],
    ['encoder', { inject_ms: 60, encode_ms: 200 }, {}, 'A picture takes 202 ms'], // what is farther beyond its limit
    ['network', { encode_ms: 31 * 2, rtt_ms: 500 }, {}, 'Round trip 500 ms'],
  ]) {
    const v = judge(but, page);
    assert.equal(v.cause, cause, JSON.stringify([but, page, v]));
    const bad = v.findings.filter((f) => f.bad && f.part === cause);
    if (cause !== 'none') assert.ok(bad.some((f) => f.text.includes(evidence)), `${evidence}: ${JSON.stringify(bad)}`);
    else assert.ok(v.findings.every((f) => !f.bad) && v.findings.some((f) => f.text.includes(evidence)), JSON.stringify(v.findings));
    assert.ok(v.findings.every((f) => PARTS.includes(f.part)));
    assert.equal(shortOf(v), cause === 'none' ? 'ok' : cause);
  }
});

test('a verdict says how sure it is', () => {
  const seldom = judge({ paints: 8, fps: 8, inject_ms: 4 }, { fps: 8 });
  assert.deepEqual([seldom.cause, seldom.head, shortOf(seldom)], ['app', 'Perhaps the app', 'app?']);
  assert.equal(judge({ paints: 8, fps: 8, inject_ms: 0 }, { fps: 8 }).cause, 'none', 'nobody acts');
  assert.equal(judge({ paints: 8, fps: 8, inject_ms: 4, encode_ms: 60 }, { fps: 8 }).cause, 'encoder', 'there is another cause');
  assert.equal(verdict({ state: 'waiting', now: at }).head, 'Waits for a seat');
  assert.equal(verdict({ state: 'streaming', now: at }).cause, 'unknown');
  assert.match(judge({ rtt_ms: 300 }, {}, { now: at + 120_000 }).head, /^Slow: the network, 2 min ago$/);
  assert.equal(shortOf(judge({ rtt_ms: 300 }, {}, { now: at + 120_000 })), 'network?');
  assert.match(judge({ rtt_ms: 300 }, {}, { state: 'detached' }).text, /Before that: slow, the network/);
  const full = judge({ encode_ms: 60 }, {}, { node: { name: 'n1', load: 'full', cpu: 0.97 } });
  assert.ok(full.findings.some((f) => f.bad && f.text.includes('n1 is full (CPU 97 %)')), JSON.stringify(full.findings));
  assert.ok(!judge({}, {}, { node: { name: 'n1', load: 'full', cpu: 0.97 } }).findings.some((f) => f.bad), 'a full node whose encoder keeps up is no fault');
  assert.equal(judge({ fps: 18 }, null).cause, 'encoder', 'without the page\'s word');
  for (const odd of [{}, { rtt_ms: 'x', loss: null, fps: NaN, page: {} }, { page: 7 }]) assert.ok(PARTS.concat('none').includes(verdict({ measured: odd, state: 'streaming', now: at }).cause));
});

test('only rows that are seen exist', () => {
  const w = (top, count = 10_000) => windowOf({ top, height: 400, row: 40, count, spare: 2 });
  assert.deepEqual(w(0), { first: 0, end: 12 });
  assert.deepEqual(w(4000), { first: 98, end: 112 });
  assert.deepEqual(w(10_000 * 40), { first: 9998, end: 10_000 });
  assert.deepEqual(w(4000, 3), { first: 2, end: 3 }, 'the list became shorter');
  assert.deepEqual(w(0, 0), { first: 0, end: 0 });
  assert.deepEqual(windowOf({ top: 0, height: 400, row: 0, count: 5 }), { first: 0, end: 0 });
  assert.equal(w(-50).first, 0, 'a phone that bounces');
  assert.deepEqual(['ArrowDown', 'ArrowUp', 'PageDown', 'PageUp', 'Home', 'End', 'a'].map((key) => step(key, { index: 5, count: 20, page: 9 })), [6, 4, 14, 0, 0, 19, -1]);
  assert.equal(step('ArrowDown', { index: -1, count: 20, page: 9 }), 0, 'the first key goes to the first row');
  assert.equal(step('ArrowDown', { index: 0, count: 0, page: 9 }), -1);
  assert.equal(scrollTo({ index: 2, top: 400, height: 400, row: 40, head: 40 }), 80);
  assert.equal(scrollTo({ index: 30, top: 400, height: 400, row: 40, head: 40 }), 880);
  assert.equal(scrollTo({ index: 12, top: 400, height: 400, row: 40, head: 40 }), 400);
});

test('rows are in an order, or stay where they are', () => {
  const items = [{ k: 'a', v: 3 }, { k: 'b', v: 1 }, { k: 'c' }, { k: 'd', v: 1 }];
  const key = ({ k }) => k;
  const keys = (list) => list.map(key).join('');
  assert.equal(keys(arrange(items, { value: ({ v }) => v, key, down: false })), 'bdac');
  assert.equal(keys(arrange(items, { value: ({ v }) => v, key, down: true })), 'abdc', 'what is not known is last');
  const before = new Map([['c', 0], ['gone', 1], ['a', 2]]);
  assert.equal(keys(arrange(items, { value: ({ v }) => v, key, down: true, before })), 'abdc');
  assert.equal(keys(keep(items, { key, before })), 'cabd');
});

test('figures in words', () => {
  assert.deepEqual([number(10_000), number(undefined), many(1, 'session'), many(2, 'session'), many(0, 'app at a site', 'apps')], ['10,000', '–', '1 session', '2 sessions', '0 apps']);
  assert.deepEqual([rate(880), rate(4250), rate(12_400), rate(null), rate(0)], ['880 kbit/s', '4.3 Mbit/s', '12 Mbit/s', '–', '0 kbit/s']);
  assert.deepEqual([share(0), share(0.0004), share(0.012), share(0.5), share(undefined), share(1)], ['0 %', '< 0.1 %', '1.2 %', '50 %', '–', '100 %']);
  assert.deepEqual([span(4200), span(125_000), span(3_725_000), span(90_000_000), span(-5)], ['4 s', '2 min', '1 h 2 min', '1 d 1 h', '0 s']);
  const t = '2026-03-04T05:06:07Z';
  assert.deepEqual([since(t, Date.parse(t) + 61_000), since('', 5), since(t, 0), when(t), when('x')], ['1 min', '–', '–', '2026-03-04 05:06 UTC', '–']);
  assert.deepEqual([short('s-eu-west-1-mfrggzdfmztwq2lknnwg23tpoa'), short('abc'), short('')], ['…wg23tpoa', 'abc', '–']);
  assert.deepEqual([millis(3.14), millis(42.4), millis(NaN), fps(29.7), fps(undefined)], ['3.1 ms', '42 ms', '–', '30', '–']);
  assert.equal(roomOf({ capacity: { max: 8, busy: 3, idle: 2, queued: 0 } }), 'room for 5, 2 ready');
  assert.equal(roomOf({ capacity: { max: 8, busy: 8, idle: 0, queued: 4 } }), 'full, 4 waiting');
  assert.equal(roomOf({ capacity: { max: 8, busy: 8, idle: 0, queued: 4, failing: 'x' } }), 'does not start');
});

test('addresses name a page, and an item of it', () => {
  for (const [hash, want] of [
    ['', { page: 'sites', key: '', query: {} }], ['#nonsense/x', { page: 'sites', key: '', query: {} }],
    ['#sessions/s-1', { page: 'sessions', key: 's-1', query: {} }], ['#apps/eu-west-1/a%20b', { page: 'apps', key: 'eu-west-1/a b', query: {} }],
    ['#sessions?site=eu-west-1&q=a%20b', { page: 'sessions', key: '', query: { site: 'eu-west-1', q: 'a b' } }], ['#nodes/%zz', { page: 'nodes', key: '', query: {} }],
  ]) assert.deepEqual(read(hash), want, hash);
  for (const [page, key, query] of [['apps', 'eu west/a?b#c', {}], ['sessions', '', { q: 'a&b', site: 'x' }]]) assert.deepEqual(read(write(page, key, query)), { page, key, query });
  assert.equal(write('sessions', '', { q: '' }), '#sessions');
});

test('the map has each round trip once, and each site where it is', () => {
  const d = (rtt_ms, measured = true) => ({ rtt_ms, error_ms: 0, measured });
  const sites = [{ site: 'b', distances: { a: d(20), c: d(7, false), b: d(0) } }, { site: 'a', distances: { b: d(18), c: d(5, false) } }, { site: 'c', distances: { b: d(9) } }];
  assert.deepEqual(links(sites).map(({ from, to, rtt, measured }) => [from, to, rtt, measured]), [['a', 'b', 18, true], ['b', 'c', 9, true], ['a', 'c', 5, false]]);
  assert.deepEqual(placeOf({ site: 'attic', lat: 1, lon: 2 }), [2, 1]);
  assert.deepEqual([whereIs('eu-west-1-blue'), whereIs('eu-west-12'), placeOf({ site: 'attic' })], [whereIs('eu-west-1'), null, null]);
  const two = spots([{ site: 'eu-west-1' }, { site: 'eu-west-1-blue' }, { site: 'attic' }]);
  assert.equal(two.length, 2);
  assert.notEqual(two[0].x, two[1].x, 'two sites of one town stand beside each other');
  const names = labels(two, 2);
  assert.ok(names[0] && (!names[1] || names[0].anchor !== names[1].anchor));
  const w = mapWindow([{ x: -77, y: -39 }, { x: 140, y: -36 }]);
  assert.ok(w.x < -77 && w.x + w.w > 140 && w.y < -39 && w.y + w.h > -36);
  assert.ok(mapWindow([]).w > 300);
});

test('variables of a job file', () => {
  assert.deepEqual(variablesOf('a=1\n\n b = x=y \n'), { a: '1', b: 'x=y' });
  assert.throws(() => variablesOf('a'), /"a" is no variable/);
});
