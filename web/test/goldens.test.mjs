// The goldens of internal/wire, every field filled, run through the modules: a
// field that is renamed there shows here as a word that is missing.
import test from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { Keyboard } from '../assets/js/input/keyboard.js';
import { Pointer } from '../assets/js/input/pointer.js';
import { initial, reduce } from '../assets/js/session.js';
import { ended, ending as endingWords } from '../assets/js/later/words.js';
import { availability, waiting } from '../assets/js/words.js';

const dir = new URL('../../internal/wire/testdata/', import.meta.url);
const skip = existsSync(dir) ? false : 'internal/wire is not beside this folder';
const golden = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, dir), 'utf8'));

test('a launch becomes a hello, a grant a way back', { skip }, () => {
  const launch = golden('launch_response');
  launch.candidates.forEach((c) => { c.excluded = ''; });
  let [state] = reduce(initial('a'), { type: 'play' });
  let effects;
  [state, effects] = reduce(state, { type: 'launched', launch });
  const signal = effects.find((e) => e.do === 'signal');
  assert.deepEqual([signal.url, signal.hello], [launch.brain_url, { ticket: launch.ticket }]);
  assert.equal(effects.find((e) => e.do === 'ice').servers[0].urls[0], launch.ice_servers[0].urls[0]);
  assert.ok(state.urls.length > 1, 'the runners-up are known');
  const { grant, end, problem, queue, progress, ending } = golden('message');
  const say = (message) => { [state, effects] = reduce(state, { type: 'message', message, now: 0 }); };
  say({ type: 'queued', queue });
  assert.match(waiting(state).head, new RegExp(queue.position));
  say({ type: 'starting', progress });
  assert.equal(waiting(state).text, progress.detail);
  say({ type: 'granted', grant });
  [state] = reduce(state, { type: 'media-live' });
  [state, effects] = reduce(state, { type: 'signal-closed', opened: true });
  [, effects] = reduce(state, { type: 'timer', name: 'resignal' });
  assert.deepEqual(effects.find((e) => e.do === 'signal').hello, { resume: grant.resume });
  [, effects] = reduce(state, { type: 'media-lost', now: 0 });
  assert.equal(effects.find((e) => e.name === 'grace').ms, 1000 * grant.grace_s);
  say({ type: 'ending', ending });
  assert.match(endingWords(state.ending)[1], new RegExp(`${Math.round(ending.after_s / 60)} min`));
  assert.equal(grant.stills, true);
  assert.equal(state.looked, undefined);
  say({ type: 'looked' });
  assert.ok(state.looked);
  say({ type: 'ended', end });
  assert.equal(state.end, end);
  assert.ok(problem.type && problem.title && problem.detail);
});

test('availability and ends read the fields that there are', { skip }, () => {
  const capacity = golden('capacity');
  assert.equal(availability({ x: capacity }).kind, 'ready');
  assert.equal(availability({ x: { ...capacity, idle: 0, busy: capacity.max } }).hint, 'failing-k');
  assert.equal(availability({ x: { ...capacity, idle: 0, busy: capacity.max, starting: 0, failing: '' } }).label, 'Full, 1005 waiting');
  assert.equal(availability({ x: { ...capacity, idle: 0, busy: 0, starting: 0, failing: '' } }).label, 'Starts in about a second');
  assert.equal(ended({ ...golden('end'), reason: 'error' }).technical, 'error(code-d): detail-e');
  assert.equal(ended({ ...golden('end'), reason: 'app-exited', signal: 0 }).technical, 'app-exited(1005): detail-e');
  for (const field of ['id', 'title', 'description', 'picture', 'sites']) assert.ok(field in golden('app_view'), field);
  for (const field of ['site', 'beacon_url', 'brain_url', 'router_url', 'healthy', 'apps', 'distances']) assert.ok(field in golden('site_view'), field);
  for (const field of ['entry', 'sites', 'probe']) assert.ok(field in golden('sites_response'), field);
  assert.ok('probe' in golden('probe_response'));
  assert.deepEqual(Object.keys(golden('probe_request')), ['rtt_ms', 'silent_ms', 'failed']);
  for (const field of ['app', 'rtt_ms', 'lost']) assert.ok(field in golden('launch_request'), field);
  for (const field of ['site', 'rtt_ms', 'rtt_source', 'rtt_error_ms', 'wait_ms', 'load_ms', 'excluded', 'reason']) assert.ok(field in golden('candidate'), field);
  for (const field of ['predicted_rtt_ms', 'rtt_source', 'candidates']) assert.ok(field in golden('launch_response'), field);
  assert.ok('rtt_ms' in golden('distance'));
  assert.ok('ticket' in golden('ticket_renewal'));
});

test('inputs have no field that wire has not', { skip }, () => {
  const known = new Set(Object.keys(golden('input')));
  const sent = [];
  const sink = { send: (m) => sent.push(m), move: (m) => sent.push(m) };
  globalThis.requestAnimationFrame ??= () => 0;
  const pointer = new Pointer({ surface: null, video: {}, sink });
  pointer.at(0.5, 0.5);
  pointer.by(1, 2);
  pointer.roll(0, 120, { x: 0, y: 0 });
  pointer.button(true, 2, { x: 0.1, y: 0.2 });
  pointer.button(false, 2, {});
  const keyboard = new Keyboard({ surface: null, sink, onChord() {}, mac: false });
  keyboard.tap('KeyA', 'a');
  keyboard.release();
  assert.deepEqual([...new Set(sent.map((m) => m.t))].sort(), ['blur', 'down', 'key', 'move', 'rel', 'up', 'wheel']);
  for (const m of sent) for (const field of Object.keys(m)) assert.ok(known.has(field), `${m.t}.${field}`);
  assert.deepEqual(Object.keys(golden('pong')), ['t', 'seq']);
});
