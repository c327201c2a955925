// A player that the person does not use takes nothing, and one that is taken away does nothing more.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Pointer } from '../assets/js/input/pointer.js';
import { Resting, REST_MS } from '../assets/js/resting.js';
import { SiteWatch } from '../assets/js/sitewatch.js';

test('an app gets the mouse at once only while its player is used', () => {
  for (const used of [false, true]) {
    let asked = 0;
    let modes = 0;
    const surface = { style: {}, getRootNode: () => ({}), getBoundingClientRect: () => ({}), requestPointerLock: () => { asked += 1; } };
    const pointer = new Pointer({ surface, video: {}, sink: {}, used: () => used, onMode: () => { modes += 1; } });
    pointer.display = { pointer: 'auto' };
    pointer.told({ relative: true });
    assert.deepEqual([asked, modes], [used ? 1 : 0, 1]);
    pointer.capture(); // a click
    assert.equal(asked, used ? 2 : 1);
  }
});

test('where the app gives the mouse back, nothing that is held is released', (t) => {
  const listeners = {};
  const surface = { style: {}, getRootNode: () => tree, getBoundingClientRect: () => ({}), addEventListener() {}, requestPointerLock() {} };
  const tree = { pointerLockElement: surface };
  let left = 0;
  globalThis.window ??= { addEventListener() {} };
  globalThis.document = { addEventListener: (type, on) => { listeners[type] = on; }, exitPointerLock: () => { left += 1; tree.pointerLockElement = null; } };
  globalThis.cancelAnimationFrame ??= () => {};
  t.after(() => { delete globalThis.document; });
  const pointer = new Pointer({ surface, video: { addEventListener() {} }, sink: { send() {} }, used: () => true, onLock() {}, onMode() {} });
  pointer.start({ pointer: 'auto' });
  pointer.told({ relative: true });
  pointer.held.add(2);
  pointer.told({ relative: false });
  listeners.pointerlockchange();
  assert.deepEqual([left, ...pointer.held], [1, 2]);
  // Where the person takes it, or the browser, all is.
  pointer.told({ relative: true });
  listeners.pointerlockchange();
  assert.equal(pointer.held.size, 0);
});

test('a cursor is as large as the picture', () => {
  const surface = { style: {}, getBoundingClientRect: () => ({ left: 0, top: 0, width: 640, height: 360 }) };
  const pointer = new Pointer({ surface, video: { videoWidth: 1280, videoHeight: 720 }, sink: {}, draws: true });
  pointer.display = { pointer: 'absolute' };
  pointer.told({ image: 'AAAA', x: 6, y: 8 });
  assert.equal(surface.style.cursor, 'image-set(url(data:image/png;base64,AAAA) 2x) 3 4, default');
  pointer.told({ hidden: true, image: 'AAAA' });
  assert.equal(surface.style.cursor, 'none');
  pointer.told({});
  assert.equal(surface.style.cursor, 'default');
});

test('the sum of all motion makes good what the line loses', (t) => {
  const sent = [];
  const frames = [];
  const former = globalThis.requestAnimationFrame;
  globalThis.requestAnimationFrame = (frame) => frames.push(frame);
  t.after(() => { globalThis.requestAnimationFrame = former; });
  const pointer = new Pointer({ surface: {}, video: {}, sink: { send: (m) => sent.push(m), move: (m) => sent.push(m) } });
  pointer.relative = true;
  t.mock.timers.enable({ apis: ['setTimeout'] });
  pointer.by(1, 2);
  pointer.by(3, 4);
  frames.shift()();
  frames.shift()();
  t.mock.timers.tick(50); // the hand rests: the last one is sent once more
  pointer.button(true, 0, {});
  assert.deepEqual(sent, [
    { t: 'rel', dx: 1, dy: 2, sum: [1, 2], n: 1 }, { t: 'rel', dx: 3, dy: 4, sum: [4, 6], n: 2 }, { t: 'rel', dx: 3, dy: 4, sum: [4, 6], n: 2 },
    { t: 'down', b: 0, n: 2, sum: [4, 6] },
  ]);
  assert.equal(frames.length, 0);
});

function rested() {
  const did = [];
  const signal = { send: ({ type }) => did.push(type), close: () => did.push('close') };
  const resting = new Resting({
    signals: { warm() {}, cool() {}, open: () => signal }, can: () => true, brain: () => '', spare: () => true,
    launch: async () => { did.push('launch'); return { candidates: [], brain_url: 'ws://a' }; },
    peer: () => ({ setServers() {} }), fresh: () => did.push('fresh'), view: () => null,
  });
  return { resting, did };
}

test('a pointer rested on Play as the player was taken away: nothing is launched', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { resting, did } = rested();
  resting.rest();
  resting.end();
  t.mock.timers.tick(REST_MS);
  resting.rest();
  t.mock.timers.tick(REST_MS);
  assert.deepEqual(did, []);
});

test('what was prepared is left, and no connection is made anew', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { resting, did } = rested();
  resting.rest();
  t.mock.timers.tick(REST_MS);
  await new Promise(setImmediate);
  resting.end();
  assert.deepEqual(did, ['launch', 'leave', 'close']);
});

test('no site is asked for once the player is gone', () => {
  let asked = 0;
  const watch = new SiteWatch({
    routers: { order: () => { asked += 1; return []; } }, state: () => ({ launch: { site: 'eu' }, lost: [] }), launchRequest: () => ({}), token: () => '', dispatch() {},
  });
  watch.doubt();
  assert.equal(asked, 1);
  watch.stop();
  watch.doubt();
  assert.equal(asked, 1);
});
