import test from 'node:test';
import assert from 'node:assert/strict';
import { isOver } from '../assets/js/phases.js';
import { initial, reduce } from '../assets/js/session.js';

const launch = {
  session: 's1', ticket: 't1', site: 'eu', brain_url: 'ws://a/v1/connect', ice_servers: [],
  candidates: [
    { site: 'eu', brain_url: 'ws://a/v1/connect' },
    { site: 'us', brain_url: 'ws://b/v1/connect' },
    { site: 'ap', brain_url: 'ws://c/v1/connect', excluded: 'full' },
  ],
};
const grant = { session: 's1', app: 'x', seat: 'z', resume: 'r1', grace_s: 30, display: { width: 1280, height: 720, pointer: 'absolute' } };
const say = (type, rest = {}) => ({ type: 'message', message: { type, ...rest }, now: 0 });

// A story is a list of events; it gives the last state, and the effects of the last event.
function story(...events) {
  let state = initial('x');
  let effects = [];
  for (const event of events) [state, effects] = reduce(state, event);
  return { state, effects, did: effects.map((e) => e.do) };
}
const find = (effects, what, name) => effects.find((e) => e.do === what && (name === undefined || e.name === name));

const toConnecting = [{ type: 'play' }, { type: 'launched', launch }];
const toStreaming = [...toConnecting, { type: 'signal-open' }, say('granted', { grant }), say('answer', { sdp: 'v=0' }), { type: 'media-live' }];

test('the way to the picture', () => {
  let s = story({ type: 'play' });
  assert.equal(s.state.phase, 'launching');
  assert.deepEqual(s.did, ['launch']);
  s = story(...toConnecting);
  assert.equal(s.state.phase, 'connecting');
  const signal = find(s.effects, 'signal');
  assert.deepEqual(signal, { do: 'signal', url: 'ws://a/v1/connect', hello: { ticket: 't1' }, offer: true });
  s = story(...toConnecting, { type: 'signal-open' }, say('granted', { grant }));
  assert.equal(s.state.phase, 'granted');
  assert.ok(find(s.effects, 'remember'));
  assert.equal(find(s.effects, 'offer'), undefined, 'hello carried the offer');
  s = story(...toStreaming);
  assert.equal(s.state.phase, 'streaming');
});

test('waiting: queue and progress, either way round', () => {
  let s = story(...toConnecting, say('queued', { queue: { position: 2, estimate_ms: 9000 } }));
  assert.equal(s.state.phase, 'queued');
  s = story(...toConnecting, say('queued', { queue: { position: 2 } }), say('starting', { progress: { phase: 'app', fraction: -1 } }));
  assert.equal(s.state.phase, 'starting');
  assert.equal(s.state.queue, null);
});

test('a person whom no brain has told anything for a while is told why', () => {
  const crowd = { type: 'timer', name: 'crowd' };
  assert.ok(find(story(...toConnecting).effects, 'timer', 'crowd'));
  assert.equal(story(...toConnecting).state.crowd, false);
  assert.equal(story(...toConnecting, crowd).state.crowd, true);
  const queued = story(...toConnecting, say('queued', { queue: { position: 2 } }), crowd).state;
  assert.deepEqual([queued.phase, queued.crowd], ['queued', false]);
});

test('the ticket is renewed while waiting, and not after', () => {
  const queued = [...toConnecting, { type: 'signal-open' }, say('queued', { queue: { position: 1 } })];
  assert.ok(find(story(...toConnecting).effects, 'timer', 'renew'));
  assert.deepEqual(story(...queued, { type: 'timer', name: 'renew' }).did, ['renew']);
  const s = story(...queued, { type: 'renewed', ticket: 't2' });
  assert.deepEqual(s.effects[0], { do: 'send', message: { type: 'ticket', ticket: 't2' } });
  assert.ok(find(s.effects, 'timer', 'renew'));
  assert.ok(find(story(...queued, say('granted', { grant })).effects, 'cancel', 'renew'));
  assert.deepEqual(story(...toStreaming, { type: 'timer', name: 'renew' }).did, []);
});

test('a brain that cannot be reached: the runner-up with the same ticket, then the router again', () => {
  let s = story(...toConnecting, { type: 'signal-closed', opened: false, code: 1006 });
  assert.equal(s.effects[0].url, 'ws://b/v1/connect');
  assert.deepEqual(s.effects[0].hello, { ticket: 't1' });
  s = story(...toConnecting, { type: 'signal-closed', opened: false }, { type: 'signal-closed', opened: false });
  assert.equal(s.state.phase, 'launching');
  assert.ok(find(s.effects, 'timer', 'relaunch'));
  assert.ok(!JSON.stringify(s).includes('ws://c'), 'an excluded site is not tried');
});

const full = say('refused', { problem: { type: '/problems/unavailable', status: 503, detail: 'full' } });

test('a brain that is full: the next one at once, with the same ticket', () => {
  const spare = { ...launch, spare_brain_urls: ['ws://a2/v1/connect'] };
  const start = [{ type: 'play' }, { type: 'launched', launch: spare }, { type: 'signal-open' }];
  let s = story(...start, full);
  assert.equal(s.state.phase, 'connecting');
  assert.deepEqual(find(s.effects, 'signal'), { do: 'signal', url: 'ws://a2/v1/connect', hello: { ticket: 't1' }, offer: true });
  assert.ok(s.did.indexOf('closeSignal') < s.did.indexOf('signal'), 'the old socket is closed first');
  assert.equal(find(s.effects, 'timer'), undefined, 'without a wait');
  s = story(...start, full, full);
  assert.equal(find(s.effects, 'signal').url, 'ws://b/v1/connect', 'then another site');
  s = story(...start, full, full, full);
  assert.equal(s.state.phase, 'launching', 'then the router is asked again');
  assert.ok(find(s.effects, 'timer', 'relaunch'));
  // It could not even be reached: the same order.
  s = story(...start.slice(0, 2), { type: 'signal-closed', opened: false, code: 1006 });
  assert.equal(s.effects[0].url, 'ws://a2/v1/connect');
});

test('a full brain behind an address for all of its site: there again, once', () => {
  let s = story(...toConnecting, { type: 'signal-open' }, full);
  assert.equal(find(s.effects, 'signal').url, 'ws://a/v1/connect');
  s = story(...toConnecting, { type: 'signal-open' }, full, full);
  assert.equal(find(s.effects, 'signal').url, 'ws://b/v1/connect');
});

test('a full site does not keep the page trying for ever', () => {
  let state = initial('x');
  let launches = 0;
  for (const event of [...toConnecting]) [state] = reduce(state, event);
  for (let i = 0; i < 100 && state.phase !== 'refused'; i++) {
    [state] = state.phase === 'launching' ? reduce(state, { type: 'launched', launch }) : reduce(state, full);
    launches += state.phase === 'launching';
  }
  assert.equal(state.phase, 'refused');
  assert.equal(state.problem.detail, 'full');
  assert.ok(launches <= 4);
});

test('it does not try for ever', () => {
  let state = initial('x');
  [state] = reduce(state, { type: 'play' });
  let rounds = 0;
  while (!isOver(state.phase) && rounds++ < 99) {
    [state] = reduce(state, state.phase === 'launching' ? { type: 'launched', launch }
      : state.signal === 'closed' ? { type: 'timer', name: 'resignal' } : { type: 'signal-closed', opened: true, now: 1 });
  }
  assert.equal(state.phase, 'refused');
  assert.ok(rounds < 40);
  assert.ok(state.problem.title && state.problem.detail);
});

test('a refused ticket is asked for anew, once; other refusals are told', () => {
  const refused = say('refused', { problem: { type: '/problems/ticket-used', title: 'Used' } });
  assert.equal(story(...toConnecting, refused).state.phase, 'launching');
  assert.equal(story(...toConnecting, refused, { type: 'launched', launch }, refused).state.phase, 'refused');
  const none = story(...toConnecting, say('refused', { problem: { type: '/problems/no-site', title: 'No site', detail: 'd' } }));
  assert.equal(none.state.phase, 'refused');
  assert.equal(none.state.problem.title, 'No site');
});

test('the socket is lost while the picture flows: silently back, without an offer', () => {
  let s = story(...toStreaming, { type: 'signal-closed', opened: true, code: 1006 });
  assert.equal(s.state.phase, 'streaming');
  assert.deepEqual(find(s.effects, 'timer', 'resignal'), { do: 'timer', name: 'resignal', ms: 100, spread: 4400 });
  assert.ok(!find(s.effects, 'brains'), 'the router is not asked by all pages at once');
  s = story(...toStreaming, { type: 'signal-closed', opened: true }, { type: 'timer', name: 'resignal' });
  assert.deepEqual(find(s.effects, 'signal'), { do: 'signal', url: 'ws://a/v1/connect', hello: { resume: 'r1' }, offer: false });
  assert.ok(find(s.effects, 'brains'));
  assert.ok(!s.did.includes('prepare') && !s.did.includes('closePeer'), 'the peer is left alone');
  s = story(...toStreaming, { type: 'signal-closed', opened: true }, { type: 'timer', name: 'resignal' },
    { type: 'signal-open' }, say('granted', { grant: { ...grant, resumed: true, resume: 'r2' } }));
  assert.equal(s.state.phase, 'streaming');
  assert.equal(s.state.grant.resume, 'r2');
});

test('a dead brain is not insisted on: others of the site get their turn, ever more slowly', () => {
  let { state } = story(...toStreaming, { type: 'brains', urls: ['ws://a2'] });
  const seen = [];
  const waits = [];
  for (let i = 0; i < 8; i++) {
    let effects;
    [state, effects] = reduce(state, { type: 'signal-closed', opened: false });
    const { ms, spread } = find(effects, 'timer', 'resignal');
    waits.push(ms + spread);
    [state, effects] = reduce(state, { type: 'timer', name: 'resignal' });
    seen.push(find(effects, 'signal').url);
  }
  assert.ok(seen.includes('ws://a2'));
  assert.equal(Math.max(...waits), 7500);
  assert.equal(state.phase, 'streaming');
});

test('the picture is lost: a new offer over the socket, else through another brain, until the grace is over', () => {
  let s = story(...toStreaming, { type: 'media-lost', now: 7 });
  assert.equal(s.state.phase, 'reconnecting');
  assert.ok(s.did.includes('offer'));
  assert.equal(find(s.effects, 'timer', 'grace').ms, 30_000);
  s = story(...toStreaming, { type: 'media-lost', now: 7 }, { type: 'timer', name: 'media' });
  assert.equal(find(s.effects, 'signal').offer, true);
  assert.deepEqual(find(s.effects, 'signal').hello, { resume: 'r1' });
  assert.ok(s.did.indexOf('prepare') < s.did.indexOf('signal'));
  s = story(...toStreaming, { type: 'media-lost', now: 7 }, { type: 'media-live' });
  assert.equal(s.state.phase, 'streaming');
  assert.ok(find(s.effects, 'cancel', 'grace'));
  s = story(...toStreaming, { type: 'media-lost', now: 7 }, { type: 'timer', name: 'grace' });
  assert.equal(s.state.phase, 'ended');
  assert.equal(s.state.end.reason, 'lost');
});

test('the browser gave up the connection: the offer goes by a new socket', () => {
  const s = story(...toStreaming, { type: 'media-lost', now: 7, failed: true });
  assert.equal(s.state.phase, 'reconnecting');
  assert.ok(s.did.indexOf('closeSignal') < s.did.indexOf('signal'));
  assert.deepEqual(find(s.effects, 'signal'), { do: 'signal', url: 'ws://a/v1/connect', hello: { resume: 'r1' }, offer: true });
  assert.equal(find(s.effects, 'offer'), undefined);
  assert.equal(find(s.effects, 'timer', 'grace').ms, 30_000);
  assert.ok(find(s.effects, 'timer', 'media'));
});

test('both are lost: the offer goes with the hello, and only once', () => {
  let s = story(...toStreaming, { type: 'signal-closed', opened: true }, { type: 'media-lost', now: 1 });
  assert.equal(find(s.effects, 'signal').offer, true);
  s = story(...toStreaming, { type: 'signal-closed', opened: true }, { type: 'media-lost', now: 1 }, { type: 'signal-open' }, say('granted', { grant }));
  assert.equal(find(s.effects, 'offer'), undefined);
});

test('the picture goes while the socket is just being reopened without an offer', () => {
  const s = story(...toStreaming, { type: 'signal-closed', opened: true }, { type: 'timer', name: 'resignal' },
    { type: 'media-lost', now: 1 }, { type: 'signal-open' }, say('granted', { grant }));
  assert.ok(s.did.includes('offer'));
});

test('a reloaded page comes back by itself; a session that is over meanwhile says so', () => {
  const saved = { grant, urls: ['ws://a'], site: 'eu' };
  let s = story({ type: 'saved', saved, now: 5 });
  assert.equal(s.state.phase, 'reconnecting');
  assert.deepEqual(find(s.effects, 'signal'), { do: 'signal', url: 'ws://a', hello: { resume: 'r1' }, offer: true });
  s = story({ type: 'saved', saved, now: 5 }, say('refused', { problem: { type: '/problems/resume', title: 'Over' } }));
  assert.equal(s.state.phase, 'ready');
  assert.ok(s.state.notice);
  assert.ok(s.did.includes('forget'));
});

test('a brain that does not know a living session does not end it', () => {
  const s = story(...toStreaming, say('refused', { problem: { type: '/problems/resume', title: 'Over' } }));
  assert.equal(s.state.phase, 'streaming');
  assert.ok(find(s.effects, 'timer', 'resignal'));
});

test('taken over by another page: no fight, but a way back', () => {
  let s = story(...toStreaming, { type: 'signal-closed', opened: true, code: 4001 });
  assert.equal(s.state.phase, 'replaced');
  assert.ok(!find(s.effects, 'timer', 'resignal'));
  s = story(...toStreaming, { type: 'signal-closed', opened: true, code: 4001 }, { type: 'takeBack', now: 3 });
  assert.deepEqual(find(s.effects, 'signal').hello, { resume: 'r1' });
});

test('no picture after the grant: two more offers, then it says why', () => {
  const granted = [...toConnecting, { type: 'signal-open' }, say('granted', { grant })];
  const timer = { type: 'timer', name: 'media' };
  assert.ok(story(...granted, timer).did.includes('offer'));
  const s = story(...granted, timer, timer, timer);
  assert.equal(s.state.phase, 'refused');
  assert.match(s.state.problem.detail, /UDP/);
  assert.ok(s.state.problem.check, 'and a page that looks at the network');
  assert.deepEqual(s.effects[0], { do: 'send', message: { type: 'leave' } });
});

test('leaving: while waiting, while playing, and with the socket gone', () => {
  let s = story(...toConnecting, { type: 'leave' });
  assert.equal(s.state.phase, 'ready');
  s = story({ type: 'play' }, { type: 'leave' }, { type: 'launched', launch });
  assert.equal(s.state.phase, 'ready', 'the late ticket is not used');
  s = story(...toStreaming, { type: 'leave' });
  assert.equal(s.state.phase, 'leaving');
  assert.deepEqual(s.effects[0], { do: 'send', message: { type: 'leave' } });
  s = story(...toStreaming, { type: 'leave' }, say('ended', { end: { reason: 'left' } }));
  assert.equal(s.state.phase, 'ended');
  s = story(...toStreaming, { type: 'signal-closed', opened: true }, { type: 'leave' });
  assert.deepEqual(find(s.effects, 'signal').hello, { resume: 'r1' });
  s = story(...toStreaming, { type: 'signal-closed', opened: true }, { type: 'leave' }, { type: 'signal-open' });
  assert.deepEqual(s.effects, [{ do: 'send', message: { type: 'leave' } }]);
  s = story(...toStreaming, { type: 'leave' }, { type: 'timer', name: 'leave' });
  assert.equal(s.state.phase, 'ended');
});

test('the site is lost: placed again without asking, with the last picture on view', () => {
  const lost = { type: 'site-lost', site: 'eu', now: 100 };
  const elsewhere = { ...launch, session: 's2', ticket: 't2', site: 'us', brain_url: 'ws://b/v1/connect' };
  let s = story(...toStreaming, lost);
  assert.equal(s.state.phase, 'launching');
  assert.deepEqual(s.state.lost, ['eu']);
  assert.equal(find(s.effects, 'closePeer').keep, true);
  assert.ok(s.did.indexOf('prepare') < s.did.indexOf('launch'));
  s = story(...toStreaming, lost, { type: 'launched', launch: elsewhere });
  assert.deepEqual(find(s.effects, 'signal').hello, { ticket: 't2' });
  const moved = [...toStreaming, lost, { type: 'launched', launch: elsewhere }, { type: 'signal-open' }, say('granted', { grant: { ...grant, session: 's2' } }), { type: 'media-live' }];
  s = story(...moved);
  assert.equal(s.state.phase, 'streaming');
  assert.deepEqual([s.state.moved.from, s.state.moved.to, s.state.moved.done], ['eu', 'us', true]);
  s = story(...moved, { type: 'site-lost', site: 'us', now: 900 });
  assert.deepEqual(s.state.lost, ['eu', 'us'], 'nor are they sent back to the first');
  s = story(...moved, say('ended', { end: { reason: 'left' } }), { type: 'play' });
  assert.deepEqual([s.state.lost, s.state.moved], [[], null], 'Play begins anew');
});

test('the site is lost while a person waits; a verdict on another site changes nothing', () => {
  assert.equal(story(...toConnecting, say('queued', { queue: { position: 2 } }), { type: 'site-lost', site: 'eu', now: 1 }).state.phase, 'launching');
  assert.equal(story(...toStreaming, { type: 'site-lost', site: 'ap', now: 1 }).state.phase, 'streaming');
  assert.equal(story({ type: 'site-lost', site: 'eu', now: 1 }).state.phase, 'ready');
});

test('no other site has a seat: back to the old one, for the rest of its grace', () => {
  const lost = [...toStreaming, { type: 'media-lost', now: 1000 }, { type: 'site-lost', site: 'eu', now: 2000 }];
  const failed = (now) => ({ type: 'launch-failed', problem: { status: 503, title: 'none' }, now });
  let s = story(...lost, failed(11_000));
  assert.equal(s.state.phase, 'reconnecting');
  assert.deepEqual(find(s.effects, 'signal').hello, { resume: 'r1' });
  assert.equal(find(s.effects, 'timer', 'grace').ms, 20_000);
  s = story(...lost, failed(11_000), { type: 'site-lost', site: 'eu', now: 12_000 });
  assert.equal(s.state.phase, 'launching', 'and once more, when it is still lost');
  s = story(...lost, failed(32_000));
  assert.equal(s.state.phase, 'ended');
  s = story(...toConnecting, { type: 'site-lost', site: 'eu', now: 1 }, failed(2));
  assert.equal(s.state.phase, 'refused', 'who had no seat is told');
});

test('the site answers again after a silence: what was sent into it is sent again', () => {
  const s = story(...toStreaming, { type: 'media-lost', now: 7 }, { type: 'reachable' });
  assert.deepEqual(find(s.effects, 'signal'), { do: 'signal', url: 'ws://a/v1/connect', hello: { resume: 'r1' }, offer: true });
  assert.ok(s.did.indexOf('closeSignal') < s.did.indexOf('signal'));
  assert.deepEqual(story(...toStreaming, { type: 'reachable' }).did, []);
});

test('ended ends, from anywhere, and Play begins anew', () => {
  for (const path of [toConnecting, toStreaming, [...toStreaming, { type: 'media-lost', now: 0 }]]) {
    const s = story(...path, say('ended', { end: { reason: 'error', code: 'stream-host-died' } }));
    assert.equal(s.state.phase, 'ended');
    assert.ok(s.did.includes('closeSignal') && s.did.includes('closePeer') && s.did.includes('prepare') && s.did.includes('forget'));
  }
  const s = story(...toStreaming, say('ended', { end: { reason: 'left' } }), { type: 'play' });
  assert.equal(s.state.phase, 'launching');
  assert.equal(s.state.end, null);
});

test('no event whatever, in any order, breaks it or leaves a phase without a name', () => {
  const phases = new Set(['ready', 'launching', 'connecting', 'queued', 'starting', 'granted', 'streaming', 'reconnecting', 'leaving', 'ended', 'refused', 'replaced']);
  const events = [
    { type: 'play' }, { type: 'launched', launch }, { type: 'launch-failed', problem: { status: 0, title: 't' }, now: 2 }, { type: 'site-lost', site: 'eu', now: 1 }, { type: 'reachable' },
    { type: 'signal-open' }, { type: 'signal-closed', opened: true }, { type: 'signal-closed', opened: false }, { type: 'signal-closed', opened: true, code: 4001 },
    { type: 'media-live' }, { type: 'media-lost', now: 1 }, { type: 'leave' }, { type: 'wake' }, { type: 'takeBack', now: 1 }, { type: 'renewed', ticket: 't' }, { type: 'renew-failed' },
    { type: 'unheard of' }, say('unheard of'), say('granted', { grant }), say('answer', { sdp: '' }), say('queued', { queue: { position: 1 } }),
    say('starting', { progress: { phase: 'app', fraction: 0 } }), say('ended', { end: { reason: 'idle' } }), say('refused', { problem: { type: '/problems/resume', title: 't' } }),
    ...['renew', 'crowd', 'relaunch', 'resignal', 'grace', 'leave', 'media', 'unheard of'].map((name) => ({ type: 'timer', name })),
    { type: 'brain-silent', now: 3 }, { type: 'site-lost', site: 'eu', now: 4 }, say('refused', { problem: { type: '/problems/unavailable', title: 't' } }),
    { type: 'brains', urls: ['ws://q'] }, { type: 'saved', saved: { grant, urls: ['ws://a'] }, now: 0 },
  ];
  let seed = 7;
  const random = (n) => { seed = (seed * 1103515245 + 12345) % 2147483648; return Math.floor((seed / 2147483648) * n); };
  for (let run = 0; run < 3000; run++) {
    let state = initial('x');
    for (let step = 0; step < 30; step++) {
      const event = events[random(events.length)];
      const [next, effects] = reduce(state, event);
      assert.ok(phases.has(next.phase), `${state.phase} + ${JSON.stringify(event)}`);
      for (const e of effects) if (e.do === 'signal') assert.ok(e.url, `${state.phase} + ${event.type}: no url`);
      state = next;
    }
  }
});

test('without a direct path in time, the next offer may use the TURN servers of the grant', () => {
  const relays = [{ urls: ['turn:a'], username: 'u', credential: 'p' }];
  const answered = [...toConnecting, { type: 'signal-open' }, say('granted', { grant: { ...grant, ice_servers: relays } }), say('answer', { sdp: 'v=0' })];
  assert.ok(find(story(...answered).effects, 'timer', 'direct'));
  for (const event of [{ type: 'timer', name: 'direct' }, { type: 'path', found: false }]) {
    const s = story(...answered, event);
    assert.ok(s.state.relaying);
    assert.ok(s.did.includes('offer'));
    assert.deepEqual(story(...answered, event, event).did, [], 'once');
  }
  assert.ok(find(story(...answered, { type: 'path', found: true }).effects, 'cancel', 'direct'));
  assert.deepEqual(story(...toStreaming.slice(0, -1), { type: 'timer', name: 'direct' }).did, [], 'no TURN, no second offer');
  assert.deepEqual(find(story(...toConnecting, say('granted', { grant })).effects, 'relays').servers, [], 'a list, also where the grant has none');
  const renewed = story(...answered, { type: 'media-live' }, say('ice', { ice_servers: [{ urls: ['turn:b'] }] }), { type: 'media-lost', now: 1 });
  assert.equal(renewed.state.grant.ice_servers[0].urls[0], 'turn:b');
  assert.ok(renewed.state.relaying, 'what was lost may be the direct path');
});

test('nothing arrives: another way through a new socket, on the same connection', () => {
  const asking = [...toStreaming, { type: 'broken' }];
  let s = story(...asking);
  assert.deepEqual(s.effects, [{ do: 'send', message: { type: 'ping' } }, { do: 'ask', url: 'ws://a/v1/connect' }], 'the old socket is asked too');
  assert.equal(s.state.signal, 'open', 'the old socket stays until the new one is open');
  assert.deepEqual(story(...asking, { type: 'broken' }).did, [], 'once');
  // It opens: the offer goes with the way back.
  s = story(...asking, { type: 'way-open' });
  assert.deepEqual(s.did, ['cancel', 'closeSignal', 'signal']);
  assert.deepEqual(find(s.effects, 'signal'), { do: 'signal', url: 'ws://a/v1/connect', hello: { resume: 'r1' }, restart: true });
  const offered = [...asking, { type: 'way-open' }, { type: 'signal-open' }, say('granted', { grant })];
  assert.deepEqual(story(...offered, say('answer', { sdp: 'v=0', restart: true })).effects, [{ do: 'answer', sdp: 'v=0' }]);
  s = story(...offered, say('answer', { sdp: 'v=0', restart: true }), { type: 'healed' });
  assert.equal(s.state.restarting, '');
  assert.equal(s.state.phase, 'streaming');
  // The old way works again, but the seat has left it: its answer counts, also during the next search.
  for (const events of [[{ type: 'healed' }], [{ type: 'healed' }, { type: 'broken' }]]) {
    s = story(...offered, ...events, say('answer', { sdp: 'v=0', restart: true }));
    assert.deepEqual(s.effects, [{ do: 'answer', sdp: 'v=0' }]);
  }
  assert.deepEqual(story(...offered, { type: 'media-lost', now: 1 }, say('answer', { sdp: 'v=0', restart: true })).did, [], 'the connection that it is for is gone');
  s = story(...offered, { type: 'healed' }, say('answer', {}));
  assert.deepEqual([s.state.phase, s.did], ['streaming', []], 'the seat has left nothing, and the old way works');
  // The seat cannot keep its end.
  s = story(...offered, say('answer', {}));
  assert.equal(s.state.phase, 'reconnecting');
  assert.equal(s.state.restarting, '');
  assert.ok(find(s.effects, 'offer'));
});

test('no network at all: it is asked again and again, until something arrives or the picture is lost', () => {
  const asking = [...toStreaming, { type: 'brains', urls: ['ws://a2/v1/connect'] }, { type: 'broken' }];
  let s = story(...asking, { type: 'way-shut' });
  assert.deepEqual(s.effects, [{ do: 'timer', name: 'ask', ms: 250 }]);
  s = story(...asking, { type: 'way-shut' }, { type: 'timer', name: 'ask' });
  assert.deepEqual(find(s.effects, 'ask'), { do: 'ask', url: 'ws://a2/v1/connect' }, 'of another brain');
  s = story(...asking, { type: 'way-shut' }, { type: 'healed' });
  assert.deepEqual(s.effects, [{ do: 'cancel', name: 'ask' }]);
  assert.deepEqual(story(...asking, { type: 'healed' }, { type: 'way-open' }).did, [], 'the old way works again');
  const lost = [...asking, { type: 'media-lost', now: 1 }];
  s = story(...lost);
  assert.equal(s.state.phase, 'reconnecting');
  assert.deepEqual(story(...lost, { type: 'timer', name: 'ask' }).did, []);
  s = story(...toStreaming, { type: 'wake', online: true });
  assert.deepEqual(find(s.effects, 'signal'), { do: 'signal', url: 'ws://a/v1/connect', hello: { resume: 'r1' }, offer: false });
  assert.deepEqual(story(...toStreaming, { type: 'wake' }).did, [], 'a page that was only hidden keeps its socket');
  // Back on the net: the old socket may take long to notice.
  s = story(...lost, { type: 'wake', online: true });
  assert.deepEqual(s.did.slice(0, 1), ['closeSignal']);
  assert.equal(find(s.effects, 'signal').offer, true);
});
