// When the steps from Play to the first picture ended.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Marks } from '../assets/js/marks.js';

test('each step counts once, after Play alone', () => {
  const marks = new Marks();
  marks.set('connected');
  marks.firstFrame();
  assert.deepEqual(marks.at, {});
  assert.equal(marks.firstFrameMS, null);
  marks.begin();
  marks.set('granted', marks.playAt + 12.34);
  marks.set('granted', marks.playAt + 99);
  assert.equal(marks.at.granted, 12.3);
  marks.drawn(marks.playAt + 40, { receiveTime: marks.playAt + 20, processingDuration: 0.0042, presentationTime: marks.playAt + 30 });
  assert.deepEqual(marks.at, { granted: 12.3, received: 20, decoding: 4.2, presented: 30, drawn: 40 });
  let told = null;
  marks.onFirst = (first) => { told = first; };
  marks.firstFrame();
  assert.deepEqual(told, { ms: marks.firstFrameMS, marks: marks.at });
  assert.ok(marks.firstFrameMS >= 0);
  marks.begin();
  assert.deepEqual([marks.at, marks.firstFrameMS], [{}, null]);
});

test('a browser that tells less of a picture', () => {
  const marks = new Marks();
  marks.begin();
  marks.drawn(marks.playAt + 5, { presentationTime: marks.playAt + 4 });
  assert.deepEqual(marks.at, { presented: 4, drawn: 5 });
});
