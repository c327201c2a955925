import test from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { Gamepads, padState } from '../assets/js/input/gamepads.js';

const dir = new URL('../../internal/wire/testdata/', import.meta.url);
const skip = existsSync(dir) ? false : 'internal/wire is not beside this folder';

function gamepad(index, { pressed = [], axes = [0, 0, 0, 0], lt = 0, rt = 0 } = {}) {
  const buttons = Array.from({ length: 17 }, (_, n) => ({ pressed: pressed.includes(n), value: pressed.includes(n) ? 1 : 0 }));
  Object.assign(buttons[6], { value: lt, pressed: lt > 0 });
  Object.assign(buttons[7], { value: rt, pressed: rt > 0 });
  return { index, connected: true, axes, buttons };
}

// hands has gamepads, a clock of its own, and what was sent: [channel, message].
function hands() {
  const h = { pads: [], at: 1000, sent: [], focused: true, full: false };
  const sink = {
    send: (m) => h.sent.push(['input', m]),
    move: (m) => (h.full ? false : (h.sent.push(['pointer', m]), true)),
  };
  h.g = new Gamepads({ sink, list: () => h.pads, now: () => h.at, focused: () => h.focused });
  h.look = (ms, ...pads) => {
    h.at += ms;
    h.pads = pads;
    h.sent = [];
    h.g.look();
    return h.sent;
  };
  return h;
}
const still = { b: 0, lx: 0, ly: 0, rx: 0, ry: 0, lt: 0, rt: 0 };

test('a state has the ranges of wire', () => {
  const s = padState(gamepad(0, { pressed: [0, 9, 16], axes: [-1, 1, 0.5, -0], lt: 1, rt: 0.5 }));
  assert.deepEqual(s, { b: 1 << 0 | 1 << 9 | 1 << 16, lx: -32768, ly: 32767, rx: 16384, ry: 0, lt: 255, rt: 128 });
  assert.deepEqual(padState({ axes: [NaN, -7], buttons: [{ pressed: false, value: 0 }] }), { ...still, ly: -32768 });
  assert.deepEqual(padState({ axes: [], buttons: Array(30).fill({ pressed: true, value: 9 }) }), { ...still, b: 0x1ffff - 0xc0, lt: 255, rt: 255 });
});

test('gamepads come and go, four at most, and keep their places', () => {
  const h = hands();
  assert.deepEqual(h.look(16, gamepad(7)), [['input', { t: 'pads', pads: 1 }]]);
  assert.deepEqual(h.look(16, gamepad(0), gamepad(2), gamepad(7)), [['input', { t: 'pads', pads: 7 }]]);
  assert.deepEqual(h.look(16, gamepad(2), gamepad(7)), [['input', { t: 'pads', pads: 5 }]]);
  assert.deepEqual(h.look(16, gamepad(2), gamepad(7, { pressed: [1] })), [['input', { t: 'pad', pad: { ...still, i: 0, b: 2 }, n: 1 }]]);
  assert.deepEqual(h.look(16, ...[1, 2, 3, 4, 5, 7].map((n) => gamepad(n)))[0], ['input', { t: 'pads', pads: 15 }]);
  assert.deepEqual(h.look(16, null, { ...gamepad(3), connected: false }, { ...gamepad(4), buttons: [] }), [['input', { t: 'pads', pads: 0 }]]);
  h.g.list = () => { throw new Error('SecurityError'); };
  assert.doesNotThrow(() => h.g.look());
});

test('a press is sent reliably, motion as it comes, and its end reliably', () => {
  const h = hands();
  h.look(16, gamepad(0));
  const channels = (...steps) => steps.map(([ms, state]) => h.look(ms, gamepad(0, state)).map(([channel, { pad, n }]) => `${channel} ${pad.b} ${pad.lx} ${pad.rt} ${n}`).join(', '));
  assert.deepEqual(channels(
    [16, { axes: [0.5, 0, 0, 0] }], [16, { axes: [0.5001, 0, 0, 0] }], [16, { axes: [0.5001, 0, 0, 0], pressed: [0] }],
    [16, { axes: [0.5001, 0, 0, 0] }], [16, { axes: [0.25, 0, 0, 0], rt: 1 }], [50, { axes: [0.25, 0, 0, 0], rt: 1 }], [60, { axes: [0.25, 0, 0, 0], rt: 1 }],
    [16, { axes: [0.25, 0, 0, 0], rt: 1 }],
  ), ['pointer 0 16384 0 1', 'pointer 0 16387 0 2', 'input 1 16387 0 3', 'input 0 16387 0 4', 'pointer 0 8192 255 5', '', 'input 0 8192 255 6', '']);
});

test('a stick that trembles sends nothing, but comes back to the middle', () => {
  const h = hands();
  const axes = (ms, x) => h.look(ms, gamepad(0, { axes: [x, 0, 0, 0] })).length;
  h.look(16, gamepad(0));
  for (let n = 0; n < 50; n++) assert.equal(axes(16, n % 2 ? 0.008 : -0.008), 0);
  assert.equal(axes(16, 0.4), 1);
  assert.equal(axes(110, 0.4), 1);
  for (let n = 0; n < 50; n++) assert.equal(axes(300, n % 2 ? 0.408 : 0.4), 0);
  assert.equal(axes(300, 0), 1);
});

test('what the line cannot take now is sent in a later frame', () => {
  const h = hands();
  h.look(16, gamepad(0));
  h.full = true;
  assert.equal(h.look(16, gamepad(0, { axes: [1, 0, 0, 0] })).length, 0);
  h.full = false;
  assert.equal(h.look(16, gamepad(0, { axes: [1, 0, 0, 0] }))[0][1].pad.lx, 32767);
});

test('without the focus nothing stays pressed, and nothing is sent', () => {
  const h = hands();
  const held = gamepad(0, { pressed: [3], axes: [1, 0, 0, 0] });
  h.look(16, held);
  h.focused = false;
  h.sent = [];
  h.g.release();
  h.g.release();
  assert.deepEqual(h.sent, [['input', { t: 'pad', pad: { ...still, i: 0 }, n: 2 }]]);
  assert.deepEqual(h.look(16, held), []);
  h.focused = true;
  assert.equal(h.look(16, held)[0][1].pad.b, 8);
});

test('rumble shakes the gamepad of its place, for as long as the app said', () => {
  const h = hands();
  const timers = new Set();
  h.g.later = (fn, ms) => {
    const timer = { fn, at: h.at + ms };
    timers.add(timer);
    return () => timers.delete(timer);
  };
  const did = [];
  const actuator = { playEffect: async (kind, { duration, strongMagnitude, weakMagnitude }) => did.push([kind, duration, strongMagnitude, weakMagnitude]), reset: async () => did.push('still') };
  h.look(16, gamepad(0), { ...gamepad(5), vibrationActuator: actuator });
  h.g.abort = new AbortController();
  const wait = (ms) => {
    h.at += ms;
    for (const timer of [...timers].filter(({ at }) => at <= h.at)) {
      timers.delete(timer);
      timer.fn();
    }
  };
  h.g.rumble({ i: 1, strong: 65535, weak: 0, ms: 12000 });
  wait(5000);
  wait(5000);
  wait(2000);
  assert.deepEqual(did.splice(0), [5000, 5000, 2000].map((ms) => ['dual-rumble', ms, 1, 0]));
  wait(9000);
  h.g.rumble({ i: 1, strong: 65535, weak: 65535, ms: 9000 });
  h.g.rumble({ i: 1, strong: 0, weak: 0, ms: 0 });
  wait(20000);
  assert.deepEqual(did.splice(0), ['still', ['dual-rumble', 5000, 1, 1], 'still']);
  for (const i of [0, 2, 9, -1, undefined]) h.g.rumble({ i, strong: 1, weak: 1, ms: 1 });
  assert.deepEqual(did, []);
});

test('gamepads have the fields that wire has', { skip }, () => {
  const golden = (name) => Object.keys(JSON.parse(readFileSync(new URL(`${name}.json`, dir), 'utf8')));
  assert.deepEqual(['i', ...Object.keys(padState(gamepad(0)))], golden('pad'));
  assert.deepEqual(golden('rumble'), ['t', 'i', 'strong', 'weak', 'ms']);
  for (const field of ['t', 'pads', 'p', 'pad', 'n']) assert.ok(golden('input').includes(field), field);
  assert.ok(golden('display').includes('gamepads'));
});
