// What Play makes of what was prepared before it.
import test from 'node:test';
import assert from 'node:assert/strict';
import { initial, reduce } from '../assets/js/session.js';

const launch = { session: 's1', ticket: 't1', site: 'eu', brain_url: 'ws://a/v1/connect', ice_servers: [], candidates: [{ site: 'eu', brain_url: 'ws://a/v1/connect' }] };
const grant = { session: 's1', app: 'x', seat: 'z', resume: 'r1', grace_s: 30, display: {}, prepared: true, ice_servers: [{ urls: ['turn:t'] }] };
const say = (type, rest = {}) => ({ type: 'message', message: { type, ...rest }, now: 0 });
const pressed = [{ type: 'play' }, { type: 'launched', launch, prepared: true }, { type: 'signal-open' }];

function story(...events) {
  let state = initial('x');
  let effects = [];
  for (const event of events) [state, effects] = reduce(state, event);
  return { state, effects, did: effects.map((e) => e.do) };
}

test('the socket and the offer are there: nothing is opened again', () => {
  const { did, state } = story(...pressed.slice(0, 2));
  assert.deepEqual(did, ['timer']);
  assert.equal(state.phase, 'connecting');
  const all = [...pressed, say('granted', { grant }), { type: 'media-live' }, say('granted', { grant: { ...grant, prepared: false, ice_servers: undefined } })];
  let s = story(...all.slice(0, 4));
  assert.equal(s.state.phase, 'granted');
  assert.ok(!s.did.includes('offer'));
  s = story(...all);
  assert.equal(s.state.phase, 'streaming');
  assert.equal(s.state.prepared, false);
  assert.deepEqual(s.effects.find((e) => e.do === 'relays').servers, grant.ice_servers, 'the seat knows of no relays');
});

test('Play was too late: a launch as without it, and nobody is told', () => {
  const granted = [...pressed, say('granted', { grant })];
  for (const lost of [say('ended', { end: { reason: 'lost' } }), say('refused', { problem: { type: '/problems/unavailable' } }), { type: 'signal-closed', code: 1006, opened: true }]) {
    for (const before of [pressed, granted]) {
      const { state, did } = story(...before, lost);
      assert.equal(state.phase, 'launching');
      assert.ok(did.includes('launch') && did.includes('prepare') && did.indexOf('closePeer') < did.indexOf('prepare'));
      // The next one counts.
      assert.equal(story(...before, lost, { type: 'launched', launch }, { type: 'signal-open' }, say('refused', { problem: { type: '/problems/no-site' } })).state.phase, 'refused');
    }
    // The session has begun: it is lost as any other.
    const begun = story(...granted, { type: 'media-live' }, lost).state;
    assert.notEqual(begun.phase, 'launching');
  }
});

test('nothing was to spare: the person waits as with hello', () => {
  const waiting = [...pressed, say('unprepared')];
  let s = story(...waiting, say('queued', { queue: { position: 3 } }));
  assert.equal(s.state.phase, 'queued');
  s = story(...waiting, { type: 'signal-closed', code: 1006, opened: true, now: 1 });
  assert.ok(s.effects.some((e) => e.name === 'resignal'), 'with the place that the ticket has');
  s = story(...waiting, say('granted', { grant: { ...grant, prepared: undefined } }));
  assert.equal(s.state.phase, 'granted');
});
