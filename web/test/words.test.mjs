import test from 'node:test';
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { wordsOf } from '../assets/js/language.js';
import { closed, ended, known as knownEnds } from '../assets/js/later/words.js';
import { about, known, availability, moved, place, waiting } from '../assets/js/words.js';

const wire = process.env.NEARCAST_WIRE ? JSON.parse(process.env.NEARCAST_WIRE) : null;
const skip = wire ? false : 'run by go test, which knows internal/wire';

test('there are words for every reason, code and phase of wire', { skip }, () => {
  assert.deepEqual([...knownEnds.reasons].sort(), [...wire.Reason].sort());
  assert.deepEqual([...knownEnds.codes].sort(), [...wire.Code].sort());
  assert.deepEqual(known.phases, wire.Phase, 'in their order');
  assert.deepEqual(knownEnds.sources, wire.RTT);
});

test('every message and input the modules name is one of wire', { skip }, () => {
  const dir = new URL('../assets/js/', import.meta.url);
  const source = readdirSync(dir, { recursive: true }).filter((f) => f.endsWith('.js'))
    .map((f) => readFileSync(new URL(f, dir), 'utf8')).join('\n');
  const inputs = new Set([...source.matchAll(/\bt: '(\w+)'/g), ...source.matchAll(/\? '(down)' : '(up)'/g)].flatMap((m) => m.slice(1)));
  for (const name of inputs) assert.ok([...wire.Input, ...wire.Frame].includes(name), `input ${name}`);
  for (const name of ['move', 'rel', 'down', 'up', 'wheel', 'key', 'blur', 'ping']) assert.ok(inputs.has(name), `${name} is never sent`);
  const sent = [...source.matchAll(/type: '(hello|ticket|offer|candidate|leave)'/g)].map((m) => m[1]);
  for (const name of sent) assert.ok(wire.Msg.includes(name));
});

test('availability', () => {
  const at = (c) => availability({ eu: { idle: 0, busy: 0, starting: 0, queued: 0, max: 2, cold_start_ms: 0, ...c } });
  assert.deepEqual(at({ idle: 1 }), { kind: 'ready', label: 'Ready now', where: 'eu' });
  assert.equal(at({}).label, 'Starts on demand');
  assert.equal(at({ cold_start_ms: 8200 }).label, 'Starts in about 8 s');
  assert.equal(at({ busy: 2 }).label, 'Full');
  assert.equal(at({ busy: 2, queued: 4 }).label, 'Full, 4 waiting');
  assert.equal(at({ failing: 'no disk' }).hint, 'no disk');
  assert.equal(availability({}).kind, 'none');
  assert.equal(availability(undefined).kind, 'none');
  const two = availability({ eu: { idle: 0, busy: 1, starting: 0, queued: 0, max: 1, failing: '' }, us: { idle: 2, busy: 0, starting: 0, queued: 0, max: 2 } });
  assert.deepEqual([two.kind, two.where], ['ready', 'us']);
});

test('durations promise no more than is known', () => {
  assert.equal(about(400), 'about a second');
  assert.equal(about(8_400), 'about 8 s');
  assert.equal(about(23_000), 'about 25 s');
  assert.equal(about(61_000), 'about a minute');
  assert.equal(about(190_000), 'about 3 min');
});

test('progress only ever grows through the phases', () => {
  let last = -1;
  for (const phase of known.phases) {
    for (const fraction of [-1, 0, 0.5, 1]) {
      const w = waiting({ phase: 'starting', progress: { phase, fraction } });
      if (fraction >= 0) assert.ok(w.fraction >= last && w.fraction <= 1, `${phase} ${fraction}`);
      last = Math.max(last, w.fraction);
      assert.ok(w.head);
    }
  }
  assert.ok(waiting({ phase: 'starting', progress: { phase: 'of a later release', fraction: 2 } }).head);
});

test('queue', () => {
  const paused = waiting({ phase: 'queued', queue: { position: 2, estimate_ms: -1, paused: true } });
  assert.equal(paused.head, 'You are number 2 in the queue');
  assert.match(paused.text, /keep your place/);
  assert.equal(waiting({ phase: 'connecting' }).text, '');
  assert.match(waiting({ phase: 'connecting', crowd: true }).text, /goes on by itself/);
  assert.equal(waiting({ phase: 'queued', queue: { position: 1, estimate_ms: -1 } }).head, 'You are next');
  assert.match(waiting({ phase: 'queued', queue: { position: 4, estimate_ms: 30_000 } }).text, /about 30 s/);
});

test('ends', () => {
  assert.equal(ended({ reason: 'left' }).again, 'Play again');
  assert.equal(ended({ reason: 'error', code: 'stream-host-died' }).again, 'Start again');
  assert.equal(ended({ reason: 'app-exited' }).head, 'The app has closed');
  assert.equal(ended({ reason: 'app-exited', signal: 11 }).technical, 'app-exited(signal 11)');
  assert.equal(ended({ reason: 'error', code: 'disk-full', detail: 'x' }).technical, 'error(disk-full): x');
  for (const end of [{ reason: 'of a later release' }, { reason: 'error', code: 'new' }, {}]) assert.ok(ended(end).head);
});

test('a move is told with the names that people know', () => {
  assert.equal(moved({ from: 'eu-west-1', to: 'us-east-1', done: true }), 'Ireland stopped answering. You are now at Virginia, and the app has started again.');
  assert.equal(moved({ from: 'me-central-1', to: '', done: false }), 'The Emirates stopped answering.');
  assert.equal(place('basement'), 'basement');
  assert.match(waiting({ phase: 'launching', moved: { from: 'basement', to: '', done: false } }).text, /^Basement stopped answering/);
});

test('places have names in each language', async () => {
  for (const [lang, name] of [['de', 'Kapstadt'], ['fr', 'Le Cap'], ['ja', 'ケープタウン']]) {
    assert.equal(place('af-south-1', await wordsOf(lang)), name);
  }
});

test('a page of others brings the token: nobody has a link', () => {
  for (const [type, hasToken] of [['token', true], ['token', false], ['expired', true]]) {
    const own = closed({ type: `/problems/launch-${type}` }, hasToken);
    const theirs = closed({ type: `/problems/launch-${type}` }, hasToken, undefined, true);
    assert.match(own.text + own.head, /link/);
    assert.doesNotMatch(theirs.text + theirs.head, /link|shut\./);
  }
});

test('closed apps', () => {
  const token = { type: '/problems/launch-token', detail: 'The key was revoked.' };
  assert.match(closed(token, false).text, /not open to everybody/);
  assert.equal(closed(token, false).technical, '', 'nothing was sent that could be wrong');
  assert.equal(closed(token, true).technical, 'The key was revoked.');
  assert.match(closed({ type: '/problems/launch-expired', detail: 'x' }, true).head, /expired/);
  assert.equal(closed({ type: '/problems/no-site' }, true), null);
  const login = { type: '/problems/login', detail: 'for developers' };
  assert.deepEqual([closed(login, false).login, closed(login, false).technical], ['in', '']);
  assert.match(closed({ ...login, trouble: 'late' }, false).text, /too long/);
  assert.match(closed(login, false, undefined, true).text, /cannot log you in/);
  const groups = closed({ type: '/problems/login-groups', detail: 'Ada is not of them.' }, false);
  assert.deepEqual([groups.login, groups.technical], ['other', 'Ada is not of them.']);
  assert.equal(closed(undefined, false), null);
});
