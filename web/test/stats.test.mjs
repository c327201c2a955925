import test from 'node:test';
import assert from 'node:assert/strict';
import { flatten, rates, report as told } from '../assets/js/stats.js';

const report = (t, video, pair = {}) => [
  { id: 'v', type: 'inbound-rtp', kind: 'video', timestamp: t, codecId: 'c', ...video },
  { id: 'a', type: 'inbound-rtp', kind: 'audio', timestamp: t, bytesReceived: 9e9 },
  { id: 'c', type: 'codec', mimeType: 'video/H264' },
  { id: 'old', type: 'candidate-pair', nominated: true, state: 'succeeded', currentRoundTripTime: 9 },
  { id: 'p', type: 'candidate-pair', state: 'succeeded', currentRoundTripTime: 0.012, bytesReceived: 5, remoteCandidateId: 'r', localCandidateId: 'l', ...pair },
  { id: 'r', type: 'remote-candidate', candidateType: 'host', protocol: 'udp' },
  { id: 'l', type: 'local-candidate', candidateType: 'srflx' },
  { id: 't', type: 'transport', selectedCandidatePairId: 'p' },
];

test('two reports make the overlay\'s numbers', () => {
  const before = flatten(report(1000, { bytesReceived: 1000, packetsReceived: 100, packetsLost: 0, framesDecoded: 30, framesDropped: 1, totalDecodeTime: 0.3, jitterBufferDelay: 1, jitterBufferEmittedCount: 30 }));
  const after = flatten(report(3000, { bytesReceived: 501_000, packetsReceived: 198, packetsLost: 2, framesDecoded: 90, framesDropped: 3, totalDecodeTime: 0.42, jitterBufferDelay: 1.6, jitterBufferEmittedCount: 90, jitter: 0.004, frameWidth: 1280, frameHeight: 720 }));
  const n = rates(before, after);
  assert.equal(n.fps, 30);
  assert.equal(n.kbps, 2000);
  assert.equal(n.lossPercent, 2);
  assert.ok(Math.abs(n.decodeMS - 2) < 1e-9);
  assert.ok(Math.abs(n.bufferMS - 10) < 1e-9);
  assert.equal(n.pairMS, 12, 'of the pair that is selected');
  assert.deepEqual([n.width, n.height, n.codec, n.jitterMS, n.dropped, n.path], [1280, 720, 'H264', 4, 3, 'udp host']);
});

test('a first, an empty or a repeated report gives no nonsense', () => {
  assert.equal(flatten(report(1000, {})).age, undefined, 'a browser that does not say when packets came');
  assert.equal(flatten(report(1000, { lastPacketReceivedTimestamp: 940 })).age, 60);
  const one = flatten(report(1000, { framesDecoded: 3 }));
  for (const n of [rates(null, one), rates(one, one), rates(null, flatten([])), rates(flatten([]), flatten([]))]) {
    for (const [name, value] of Object.entries(n)) if (typeof value === 'number') assert.ok(Number.isFinite(value), name);
    assert.equal(n.fps, 0);
  }
});

test('counters that start anew are not negative rates', () => {
  const n = rates(flatten(report(1000, { framesDecoded: 900, bytesReceived: 9e6 })), flatten(report(2000, { framesDecoded: 5, bytesReceived: 10 })));
  assert.equal(n.fps, 0);
  assert.equal(n.kbps, 0);
});

test('what the seat is told has the names of wire.PageMeasured, and figures that can be', () => {
  const at = (t, video, audio) => flatten([
    { id: 'v', type: 'inbound-rtp', kind: 'video', timestamp: t, ...video }, { id: 'a', type: 'inbound-rtp', kind: 'audio', timestamp: t, ...audio },
  ]);
  const before = at(1000, { framesDecoded: 0, totalDecodeTime: 0 }, { totalSamplesReceived: 0 });
  const after = at(6000, { framesDecoded: 150, framesDropped: 10, totalDecodeTime: 0.45, totalFreezesDuration: 0.5, jitterBufferDelay: 3, jitterBufferEmittedCount: 150 },
    { totalSamplesReceived: 240_000, concealedSamples: 4000, silentConcealedSamples: 1600 });
  assert.deepEqual(told(before, after), { fps: 30, dropped: 2, frozen_ms: 100, decode_ms: 3, buffer_ms: 20, concealed: 0.01 });
  assert.equal(told(null, after), null);
  assert.equal(told(after, after), null);
  assert.equal(told(flatten([]), at(1_800_000_000_000, { framesDecoded: 150 }, {})), null, 'there was no video yet');
  const firefox = told(at(1000, { framesDecoded: 0 }, {}), at(6000, { framesDecoded: 150 }, {}));
  for (const [name, value] of Object.entries(firefox)) assert.ok(Number.isFinite(value), name);
});
