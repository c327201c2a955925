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
    const surface = { style: {}, getRootNode: () => ({}), requestPointerLock: () => { asked += 1; } };
    const pointer = new Pointer({ surface, video: {}, sink: {}, used: () => used, onMode: () => { modes += 1; } });
    pointer.display = { pointer: 'auto' };
    pointer.told({ relative: true });
    assert.deepEqual([asked, modes], [used ? 1 : 0, 1]);
    pointer.capture(); // a click
    assert.equal(asked, used ? 2 : 1);
  }
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
