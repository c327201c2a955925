// stats.js: the overlay's numbers. flatten() takes what matters out of an
// RTCStatsReport; rates() compares two of those; report() is what the seat is told of. All are pure.

// flatten: report is anything with forEach over stats objects.
export function flatten(report) {
  const byId = new Map();
  report.forEach((s) => byId.set(s.id, s));
  const out = { at: 0 };
  let now = 0, last = 0;
  for (const s of byId.values()) {
    now = Math.max(now, s.timestamp ?? 0);
    last = Math.max(last, s.lastPacketReceivedTimestamp ?? 0);
    if (s.type === 'inbound-rtp' && s.kind === 'video') {
      Object.assign(out, {
        at: s.timestamp,
        bytes: s.bytesReceived ?? 0,
        packets: s.packetsReceived ?? 0,
        lost: Math.max(0, s.packetsLost ?? 0),
        decoded: s.framesDecoded ?? 0,
        dropped: s.framesDropped ?? 0,
        decodeS: s.totalDecodeTime ?? 0,
        bufferS: s.jitterBufferDelay ?? 0,
        buffered: s.jitterBufferEmittedCount ?? 0,
        jitterMS: (s.jitter ?? 0) * 1000,
        width: s.frameWidth ?? 0,
        height: s.frameHeight ?? 0,
        freezes: s.freezeCount ?? 0,
        frozenS: s.totalFreezesDuration ?? 0,
        codec: (byId.get(s.codecId)?.mimeType ?? '').replace(/^video\//i, ''),
      });
    }
    if (s.type === 'inbound-rtp' && s.kind === 'audio') {
      // What was silent anyway does not count: a seat sends no silence.
      Object.assign(out, { samples: s.totalSamplesReceived ?? 0, concealed: Math.max(0, (s.concealedSamples ?? 0) - (s.silentConcealedSamples ?? 0)) });
    }
    if (s.type === 'transport' && s.selectedCandidatePairId) out.pair = s.selectedCandidatePairId;
  }
  if (last > 0) out.age = Math.max(0, now - last); // of the last packet, in ms
  const pair = byId.get(out.pair) ?? [...byId.values()].find((s) =>
    s.type === 'candidate-pair' && (s.selected || (s.nominated && s.state === 'succeeded')));
  delete out.pair;
  if (pair) {
    out.received = pair.bytesReceived ?? 0;
    if (pair.currentRoundTripTime !== undefined) out.pairMS = pair.currentRoundTripTime * 1000;
    const remote = byId.get(pair.remoteCandidateId);
    const local = byId.get(pair.localCandidateId);
    if (remote) out.path = `${remote.protocol ?? 'udp'} ${local?.candidateType === 'relay' ? 'relay' : remote.candidateType}`;
  }
  return out;
}

// rates: what happened between two flattened reports of one connection.
export function rates(before, after) {
  const out = {
    width: after.width ?? 0, height: after.height ?? 0, codec: after.codec ?? '', path: after.path ?? '',
    pairMS: after.pairMS ?? null, jitterMS: after.jitterMS ?? 0, decoded: after.decoded ?? 0,
    dropped: after.dropped ?? 0, freezes: after.freezes ?? 0,
    fps: 0, kbps: 0, lossPercent: 0, decodeMS: 0, bufferMS: 0,
  };
  const seconds = before?.at > 0 ? (after.at - before.at) / 1000 : 0; // at is 0 before there is video
  if (!(seconds > 0)) return out;
  const since = (name) => Math.max(0, (after[name] ?? 0) - (before[name] ?? 0));
  const frames = since('decoded');
  const emitted = since('buffered');
  const packets = since('packets') + since('lost');
  out.fps = frames / seconds;
  out.kbps = (since('bytes') * 8) / 1000 / seconds;
  if (packets > 0) out.lossPercent = (100 * since('lost')) / packets;
  if (frames > 0) out.decodeMS = (1000 * since('decodeS')) / frames;
  if (emitted > 0) out.bufferMS = (1000 * since('bufferS')) / emitted;
  return out;
}

// report: what happened between two flattened reports, as wire.PageMeasured.
export function report(before, after) {
  const seconds = before?.at > 0 ? (after.at - before.at) / 1000 : 0; // at is 0 before there is video
  if (!(seconds > 0)) return null;
  const since = (name) => Math.max(0, (after[name] ?? 0) - (before[name] ?? 0));
  const { fps, decodeMS, bufferMS } = rates(before, after);
  const round = (x) => Math.round(x * 1000) / 1000;
  return {
    fps: round(fps), dropped: round(since('dropped') / seconds), frozen_ms: round(Math.min(1000, (1000 * since('frozenS')) / seconds)),
    decode_ms: round(decodeMS), buffer_ms: round(bufferMS), concealed: since('samples') > 0 ? round(Math.min(1, since('concealed') / since('samples'))) : 0,
  };
}
