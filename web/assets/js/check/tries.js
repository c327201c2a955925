// tries.js: the tries themselves. Each resolves to a finding (findings.js), and none rejects.

import { reach } from '../api.js';

const PATIENCE_MS = 5000; // for one answer: several round trips to the far side of the world

const within = (signal) => (AbortSignal.any ? AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]) : AbortSignal.timeout(PATIENCE_MS));
const works = { verdict: 'works' };
const fails = { verdict: 'fails' };
const webrtc = () => typeof RTCPeerConnection === 'function';
const at = (brain, path) => new URL(path, brain.replace(/^ws/, 'http')).href;

// tryBrain asks a brain what a network must let through: {finding, network}. One of an older
// version does not say; then any answer counts.
export async function tryBrain(brain, signal) {
  try {
    const response = await fetch(at(brain, '/v1/network'), { cache: 'no-store', signal: within(signal) });
    if (response.ok) return { finding: works, network: await response.json() };
    return { finding: works, network: null };
  } catch (error) {
    if (error.name === 'TimeoutError') return { finding: fails, network: null };
    return { finding: await tryReach(at(brain, '/healthz'), signal), network: null };
  }
}

// tryReach asks whether anything answers by HTTP.
export async function tryReach(url, signal) {
  try {
    await reach(url, within(signal));
    return works;
  } catch {
    return fails;
  }
}

// trySocket opens a WebSocket to a brain and closes it.
export function trySocket(brain, signal) {
  return new Promise((resolve) => {
    let socket;
    try {
      socket = new WebSocket(brain);
    } catch {
      resolve(fails); // an invalid URL, or ws:// from a page loaded by https
      return;
    }
    const end = (finding) => {
      resolve(finding);
      socket.close();
    };
    socket.onopen = () => end(works);
    socket.onclose = () => end(fails);
    within(signal).addEventListener('abort', () => end(fails), { once: true });
  });
}

// tryRelay asks one TURN server for a relay. An answer that refuses is an answer too: the
// network lets it through.
export function tryRelay(server, signal) {
  if (!webrtc()) return { verdict: 'untried', why: 'no-webrtc' };
  return new Promise((resolve) => {
    let pc;
    const end = (finding) => {
      resolve(finding);
      pc?.close();
    };
    try {
      pc = new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: 'relay' });
      pc.onicecandidate = ({ candidate }) => {
        if (candidate?.candidate) end(works);
      };
      pc.onicecandidateerror = ({ errorCode }) => {
        if (errorCode >= 300 && errorCode < 700) end(works);
      };
      pc.onicegatheringstatechange = () => {
        if (pc.iceGatheringState === 'complete') end(fails);
      };
      within(signal).addEventListener('abort', () => end(fails), { once: true });
      pc.createDataChannel('check');
      pc.createOffer().then((offer) => pc.setLocalDescription(offer)).catch(() => end(fails));
    } catch {
      end(fails); // a URL that this browser does not take
    }
  });
}

// tryRelays tries all servers of one way: one that answers is enough.
export async function tryRelays(servers, signal) {
  if (servers.length === 0) return { verdict: 'untried', why: 'no-relay' };
  const found = await Promise.all(servers.map((server) => tryRelay(server, signal)));
  return found.find((f) => f.verdict === 'works') ?? found[0];
}

// tryVideo asks the browser what it decodes.
export async function tryVideo() {
  if (!webrtc()) return { ...fails, why: 'no-webrtc' };
  const codecs = globalThis.RTCRtpReceiver?.getCapabilities?.('video')?.codecs;
  if (!codecs) return { verdict: 'untried' };
  // The codecs in which apps may come (DRIVER.md).
  const codec = ['H264', 'VP8'].find((name) => codecs.some(({ mimeType }) => mimeType.toLowerCase() === `video/${name.toLowerCase()}`));
  if (!codec) return fails;
  try {
    const video = { contentType: `video/${codec}`, width: 1280, height: 720, bitrate: 6_000_000, framerate: 60 };
    const { smooth } = await navigator.mediaCapabilities.decodingInfo({ type: 'webrtc', video });
    return { ...works, codec, smooth };
  } catch {
    return { ...works, codec };
  }
}
