// The person's window, the app's windows, and sessions that are held: the pure parts.
import test from 'node:test';
import assert from 'node:assert/strict';
import { open, withHeld } from '../assets/js/held.js';
import { initial, reduce } from '../assets/js/session.js';
import { viewOf } from '../assets/js/view.js';

test('a view is in device pixels', () => {
  assert.deepEqual(viewOf({ width: 1280, height: 720.4 }, 1.5), { width: 1920, height: 1081, scale: 1.5 });
  assert.equal(viewOf({ width: 0, height: 720 }, 1), null);
});

test('the number of windows belongs to a seat', () => {
  const held = { ...initial('a'), phase: 'streaming', media: 'live', grant: { resume: 'r' } };
  const [two] = reduce(held, { type: 'message', message: { type: 'windows', windows: 2 }, now: 0 });
  assert.equal(two.windows, 2);
  const [again] = reduce(two, { type: 'message', message: { type: 'granted', grant: { resume: 'r' } }, now: 0 });
  assert.equal(again.windows, 0, 'a seat that was returned to tells it anew');
  const [over] = reduce(initial('a'), { type: 'message', message: { type: 'windows', windows: 2 }, now: 0 });
  assert.equal(over.windows, 0);
});

test('a record of a held session is good until its seat may be gone', () => {
  const record = { grant: { resume: 'r' }, urls: ['wss://b'], until: 1000 };
  assert.deepEqual(open(JSON.stringify(record), 999), record);
  assert.equal(open(JSON.stringify(record), 1000), null);
  for (const text of [null, '', '{', '{}', JSON.stringify({ ...record, urls: [] }), JSON.stringify({ ...record, grant: {} })]) {
    assert.equal(open(text, 0), null, text);
  }
});

test('a session of an app that is not listed is offered too', () => {
  const listed = [{ id: 'a', title: 'A' }];
  assert.deepEqual(withHeld(listed, new Map([['a', 'old'], ['signed', 'Signed'], ['plain', undefined]])), [...listed, { id: 'signed', title: 'Signed' }, { id: 'plain', title: undefined }]);
  assert.deepEqual(withHeld(listed, new Map()), listed);
});
