import test from 'node:test';
import assert from 'node:assert/strict';
import { HOLD_ON_MS } from '../assets/js/line.js';
import { initial, reduce } from '../assets/js/session.js';
import { waiting } from '../assets/js/words.js';

const launch = {
  session: 's1', ticket: 't1', site: 'eu', brain_url: 'ws://a', ice_servers: [],
  candidates: [{ site: 'eu', brain_url: 'ws://a' }, { site: 'us', brain_url: 'ws://b' }],
};
const grant = { session: 's1', app: 'x', seat: 'z', resume: 'r1', grace_s: 30, display: { width: 1280, height: 720, pointer: 'absolute' } };
const say = (type, rest = {}) => ({ type: 'message', message: { type, ...rest }, now: 0 });
const refused = (kind) => say('refused', { problem: { type: `/problems/${kind}`, title: 't' } });
const place = say('queued', { queue: { position: 7, estimate_ms: 9000 } });
const lost = { type: 'signal-closed', opened: true, code: 1006, now: 50 };
const nobody = { type: 'signal-closed', opened: false, code: 1006, now: 900 };
const again = { type: 'timer', name: 'resignal' };

function story(...events) {
  let state = initial('x');
  let effects = [];
  for (const event of events) [state, effects] = reduce(state, event);
  return { state, effects, did: effects.map((e) => e.do) };
}
const find = (effects, what, name) => effects.find((e) => e.do === what && (name === undefined || e.name === name));

const hello = [{ type: 'play' }, { type: 'launched', launch }, { type: 'signal-open' }];
const inLine = [...hello, place];

test('who waits for a machine is told so, and when it is expected', () => {
  const told = (queue) => waiting(story(...hello, say('queued', { queue })).state).text;
  assert.equal(told({ position: 1, estimate_ms: 240_000, machine: true }), 'A machine starts in about 4 min.');
  assert.equal(told({ position: 1, estimate_ms: 240_000 }), 'It should be your turn in about 4 min.');
  assert.match(told({ position: 1, estimate_ms: -1, machine: true }), /^You get the next free place\.$/);
});

test('a lost brain: the same ticket, after a while that differs, and the place is shown', () => {
  let s = story(...inLine, lost);
  assert.deepEqual([s.state.phase, s.state.queue.position, s.state.awayAt], ['queued', 7, 50]);
  assert.deepEqual(s.effects, [{ do: 'timer', name: 'resignal', ms: 104, spread: 900 }]);
  const words = waiting(s.state);
  assert.equal(words.head, 'You are number 7 in the queue');
  assert.match(words.text, /place is kept/);
  s = story(...inLine, lost, again);
  assert.deepEqual(find(s.effects, 'signal'), { do: 'signal', url: 'ws://a', hello: { ticket: 't1' }, offer: true });
  assert.ok(s.did.indexOf('prepare') < s.did.indexOf('signal'));
  assert.ok(find(s.effects, 'brains'), 'for the attempt after this one');
  s = story(...inLine, lost, again, { type: 'signal-open' }, say('queued', { queue: { position: 6, estimate_ms: 9000 } }));
  assert.equal(s.state.awayAt, 0);
  assert.ok(!/kept/.test(waiting(s.state).text));
});

test('a lost brain while a seat starts', () => {
  const s = story(...hello, say('starting', { progress: { phase: 'app', fraction: 0.5 } }), lost);
  assert.equal(s.state.phase, 'starting');
  assert.match(waiting(s.state).text, /place is kept/);
});

test('only brains of the same site get the ticket, for as long as it takes', () => {
  let { state } = story(...inLine, { type: 'brains', urls: ['ws://a2'] }, lost);
  const asked = [];
  for (let i = 0; i < 40; i++) {
    let effects;
    [state, effects] = reduce(state, again);
    asked.push(find(effects, 'signal').url);
    [state] = reduce(state, nobody);
  }
  assert.equal(state.phase, 'queued');
  assert.deepEqual([...new Set(asked)].sort(), ['ws://a', 'ws://a2']);
});

test('the site of a ticket is where a brain has it', () => {
  const s = story({ type: 'play' }, { type: 'launched', launch }, nobody, { type: 'signal-open' }, place, lost, again);
  assert.equal(find(s.effects, 'signal').url, 'ws://b');
  assert.equal(find(s.effects, 'brains').site, 'us');
});

test('the ticket is renewed without a brain, and the renewed one is shown', () => {
  let s = story(...inLine, lost, { type: 'timer', name: 'renew' });
  assert.deepEqual(s.did, ['renew']);
  s = story(...inLine, lost, { type: 'renewed', ticket: 't2' });
  assert.deepEqual(s.effects, [{ do: 'timer', name: 'renew', ms: 40_000 }]);
  s = story(...inLine, lost, { type: 'renewed', ticket: 't2' }, again);
  assert.equal(find(s.effects, 'signal').hello.ticket, 't2');
  s = story(...inLine, lost, { type: 'renew-failed', problem: { type: 'about:blank', status: 0 } });
  assert.equal(s.state.phase, 'queued', 'their own network may be gone');
  assert.ok(find(s.effects, 'timer', 'renew'));
});

test('a ticket that nobody takes any more: a new launch, and the person is told', () => {
  for (const end of [refused('ticket'), refused('ticket-used'), { type: 'renew-failed', problem: { type: '/problems/ticket', status: 401 } }]) {
    const start = end.type === 'message' ? [...inLine, lost, again, { type: 'signal-open' }] : [...inLine, lost];
    let s = story(...start, end);
    assert.equal(s.state.phase, 'launching');
    assert.match(waiting(s.state).text, /could not be kept/);
    s = story(...start, end, { type: 'timer', name: 'relaunch' }, { type: 'launched', launch: { ...launch, ticket: 't9' } }, { type: 'signal-open' }, say('queued', { queue: { position: 90, estimate_ms: -1 } }));
    assert.match(waiting(s.state).text, /could not be kept/);
    assert.equal(waiting(s.state).head, 'You are number 90 in the queue');
  }
  const s = story(...inLine, { type: 'renew-failed', problem: { type: '/problems/ticket', status: 401 } });
  assert.equal(s.state.phase, 'queued', 'the brain will say when it is over');
});

test('no place yet: the same ticket twice more, then a new launch', () => {
  let s = story(...hello, lost);
  assert.equal(s.state.phase, 'connecting');
  s = story(...hello, lost, again, nobody, again);
  assert.equal(find(s.effects, 'signal').hello.ticket, 't1');
  s = story(...hello, lost, again, nobody, again, nobody);
  assert.equal(s.state.phase, 'launching');
  assert.ok(!s.state.placeLost, 'there was none');
});

test('a brain that is full: the next one', () => {
  for (const kind of ['unavailable', 'too-many']) {
    const s = story(...inLine, lost, again, { type: 'signal-open' }, refused(kind));
    assert.equal(s.state.phase, 'queued');
    assert.ok(find(s.effects, 'closeSignal') && find(s.effects, 'timer', 'resignal'));
  }
  assert.equal(story(...hello, refused('unavailable')).state.phase, 'connecting');
  assert.equal(story(...inLine, lost, again, { type: 'signal-open' }, refused('sessions')).state.phase, 'refused');
});

test('a silent brain is given up, once', () => {
  const silent = { type: 'brain-silent', now: 70 };
  const s = story(...inLine, silent);
  assert.deepEqual(s.did, ['closeSignal', 'timer']);
  assert.deepEqual(story(...inLine, silent, silent).did, []);
  assert.deepEqual(story(...inLine, say('granted', { grant }), silent).did, []);
});

test('brains that are away for a moment do not send their line to another site', () => {
  const verdict = (now) => ({ type: 'site-lost', site: 'eu', now });
  assert.equal(story(...inLine, lost, verdict(50 + HOLD_ON_MS - 1)).state.phase, 'queued');
  assert.equal(story(...inLine, lost, verdict(50 + HOLD_ON_MS)).state.phase, 'launching');
  assert.equal(story(...inLine, verdict(60)).state.phase, 'launching', 'silence without a closed socket is a lost site');
});

test('awake, online: at once; leaving forgets the place', () => {
  assert.ok(find(story(...inLine, lost, { type: 'wake' }).effects, 'signal'));
  assert.deepEqual(story(...inLine, { type: 'wake' }).did, []);
  const s = story(...inLine, lost, { type: 'leave' });
  assert.deepEqual([s.state.phase, s.state.awayAt], ['ready', 0]);
  assert.deepEqual(story(...inLine, lost, { type: 'leave' }, again).did, []);
});
