// verdict.js: why a session is slow: which of network, encoder, browser and app, and by what that is seen. Pure.
//
//	verdict({ measured, node, state, now }) // {cause: 'network', head, text, findings: [{part, bad, weight, text}]}
//	causeOf({ measured, node, state, now }) // {cause: 'network', old: false}: for lists of thousands, without the words
//
// measured is a wire.Measured. Each part has checks with a limit. How far a figure is beyond its limit is its
// weight, and the part with the largest weight is the cause. A picture that stands still and pictures that are
// missing follow from a bad network, too: they count for encoder and browser only where no check of the network fails.
// An app that paints seldom may be right to do so: that is a cause only where there is no other, and is called perhaps.

import { millis, rate, share, span } from './format.js';

// LIMITS are where a person feels it, or where measurements say that it becomes visible.
export const LIMITS = {
  rtt_ms: 120, // as in check/findings.js: from here on most people feel the delay
  queue_ms: 100, // congestion control keeps it below (PERFORMANCE.md, "The fall of a line")
  loss: 0.05, // at 5 % the picture stood still for up to 0.5 s of 12 (PERFORMANCE.md, "Sound, loss and cuts")
  target_kbps: 2000, // a moving picture has a similarity of 0.75 there, and 0.86 with 6000 (PERFORMANCE.md, quality)
  concealed: 0.05, // what was heard on a line with 5 % of loss and too little CPU (PERFORMANCE.md)
  frozen_ms: 42, // of a second: 0.5 s of 12, the limit of seat/peer's TestMedia
  picture_ms: 33, // a picture's time at 30 a second, the default of a display (DRIVER.md)
  shown: 0.8, // of the pictures that there are; below, it is seen. Our choice
  fps: 30, // more than that need not be shown to be smooth
  inject_ms: 50, // input to the app's display: as much as a whole key press takes to the picture (PERFORMANCE.md: p50 52.5 ms). Our choice
  paints: 15, // half of a display's default, while the person acts and something moves. Our choice
};

const STALE_MS = 45_000; // seats tell every 10 s at most
const SOME = 5; // pictures a second from which on a picture moves
const MOST = 20; // a weight above this says no more

export const PARTS = ['network', 'encoder', 'browser', 'app'];

const NAMES = { network: 'the network', encoder: 'the encoder', browser: 'the browser', app: 'the app' };
const TEXTS = {
  network: 'The way between seat and browser is long or thin. See below whether another site is nearer. The person can open /check, which says what their network does.',
  encoder: 'The seat does not encode pictures as fast as the app paints them. It needs more processor time, or a GPU: see its node.',
  browser: 'The pictures arrive, and the person\'s browser does not show all of them. Their device is too slow or busy, or decodes in software.',
  app: 'Network, encoder and browser keep up with the app. It takes long to answer, or paints seldom.',
  none: 'All that is measured is within its limits.',
};

const MAYBE = 'It paints seldom while the person acts, and all else is within its limits. An app that moves should paint more often; for one that stands still until it has something new, this is as it should be.';

const at = (value) => (typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : 0);
const pictures = (n) => `${Math.round(n)} pictures a second`;

export function verdict({ measured, node, state, now } = {}) {
  if (state === 'waiting') return none('unknown', 'Waits for a seat', 'Nothing is measured before a person has one. The app\'s queue says how many wait.');
  if (!measured) return none('unknown', 'Not measured yet', 'The seat measures when the browser is connected. Seats of an earlier release tell nothing.');
  const found = findings(measured, node);
  const { cause, old, maybe } = weigh(found, { measured, state, now });
  const slow = cause !== 'none';
  const out = { cause, old, head: slow ? `Slow: ${NAMES[cause]}` : 'Not slow', text: TEXTS[cause] };
  if (maybe) Object.assign(out, { head: 'Perhaps the app', text: MAYBE });
  else if (state === 'detached') Object.assign(out, { head: 'The browser is away', text: `It was lost, and may come back. Before that: ${slow ? `slow, ${NAMES[cause]}` : 'not slow'}.` });
  else if (old) out.head += `, ${span(now - Date.parse(measured.at))} ago`;
  out.findings = found.map(({ part, bad, weight, say, limit }) => ({ part, bad, weight: Math.min(weight, MOST), text: bad && limit ? `${say()} (limit: ${limit()})` : say() }));
  return out;
}

export function causeOf({ measured, node, state, now }) {
  if (state === 'waiting' || !measured) return { cause: 'unknown', old: false };
  return weigh(findings(measured, node), { measured, state, now });
}

// weigh finds the part that is farthest beyond its limits. old says that it is not for sure: of before, or perhaps.
function weigh(found, { measured, state, now }) {
  let worst = null;
  for (const f of found) {
    if (f.bad && (!worst || f.weight > worst.weight || (f.weight === worst.weight && PARTS.indexOf(f.part) < PARTS.indexOf(worst.part)))) worst = f;
  }
  const maybe = Boolean(worst?.maybe);
  return { cause: worst?.part ?? 'none', maybe, old: maybe || state === 'detached' || now - Date.parse(measured.at) > STALE_MS };
}

const none = (cause, head, text) => ({ cause, head, text, findings: [] });

// findings are all checks. What they say is put into words only where somebody reads it.
function findings(m, node) {
  const out = [];
  const add = (part, weight, say, limit) => out.push({ part, bad: weight >= 1, weight, say, limit });
  const over = (part, value, limit, say, unit) => add(part, value / limit, say, () => unit(limit));

  over('network', at(m.rtt_ms), LIMITS.rtt_ms, () => `Round trip ${millis(at(m.rtt_ms))}`, millis);
  over('network', at(m.loss), LIMITS.loss, () => `${share(at(m.loss))} of the packets lost`, share);
  over('network', at(m.queue_ms), LIMITS.queue_ms, () => `Packets wait ${millis(at(m.queue_ms))} in the network`, millis);
  const target = at(m.target_kbps);
  // Only what is sent up to the target is held back by it: a picture that stands still needs little.
  const held = target > 0 && at(m.bitrate_kbps) >= 0.8 * target && at(m.paints) >= SOME;
  add('network', held ? LIMITS.target_kbps / target : 0, () => `The network takes ${rate(target)}, ${held ? 'all of which the picture needs' : 'which is enough for this picture'}`, () => rate(LIMITS.target_kbps));
  const page = m.page ?? null;
  if (page) over('network', at(page.concealed), LIMITS.concealed, () => `${share(at(page.concealed))} of the sound lost`, share);
  const calm = !out.some(({ bad }) => bad);

  const picture = at(m.capture_ms) + at(m.encode_ms);
  over('encoder', picture, LIMITS.picture_ms, () => `A picture takes ${millis(picture)}${m.encoder ? ` with ${m.encoder}${m.preset ? `, ${m.preset}` : ''}` : ''}`, millis);
  const wanted = Math.min(at(m.paints), LIMITS.fps);
  const moves = wanted >= SOME;
  add(calm ? 'encoder' : 'network', moves ? (LIMITS.shown * wanted) / Math.max(at(m.fps), 0.1) : 0, () => `${pictures(at(m.fps))} sent, of ${Math.round(at(m.paints))} that the app paints`, () => share(LIMITS.shown));
  if (node?.load) {
    const full = node.load === 'full' && picture >= LIMITS.picture_ms;
    add('encoder', full ? 1 : 0, () => `Its node ${node.name} is ${node.load}${full ? ` (CPU ${share(at(node.cpu))})` : ''}`);
  }

  if (page) {
    const sent = Math.min(at(m.fps), LIMITS.fps);
    const shown = Math.max(0, at(page.fps) - at(page.dropped));
    add(calm ? 'browser' : 'network', sent >= SOME ? (LIMITS.shown * sent) / Math.max(shown, 0.1) : 0, () => `${pictures(shown)} shown, of ${Math.round(at(m.fps))} sent`, () => share(LIMITS.shown));
    over(calm ? 'browser' : 'network', at(page.frozen_ms), LIMITS.frozen_ms, () => (at(page.frozen_ms) > 0 ? `The picture stands still for ${millis(at(page.frozen_ms))} of each second` : 'The picture does not stand still'), millis);
    over('browser', at(page.decode_ms), LIMITS.picture_ms, () => `It takes ${millis(at(page.decode_ms))} to decode a picture`, millis);
  } else add('browser', 0, () => 'The page tells nothing of its end');

  // Input is measured only while the person acts.
  const acts = at(m.inject_ms) > 0;
  over('app', at(m.inject_ms), LIMITS.inject_ms, () => (acts ? `Input reaches its display after ${millis(at(m.inject_ms))}` : 'No input now'), millis);
  const seldom = acts && moves && at(m.paints) < LIMITS.paints;
  add('app', seldom ? 1 : 0, () => `It paints ${pictures(at(m.paints))}${acts ? ' while the person acts' : ''}`, () => String(LIMITS.paints));
  out.at(-1).maybe = seldom;
  return out;
}

const SHORT = { none: 'ok', unknown: '', network: 'network', encoder: 'encoder', browser: 'browser', app: 'app' };

// short is the cause in a word, for lists.
export const shortOf = (v) => (v.cause === 'none' || v.cause === 'unknown' || !v.old ? SHORT[v.cause] : `${SHORT[v.cause]}?`);
