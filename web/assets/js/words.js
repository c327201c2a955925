// words.js: the states of internal/wire as sentences for the person at the page, in the words of
// language.js. Pure; a test compares it with wire, so that nothing is missing. Reasons and codes of
// ends are in later/words.js.

import { english } from './language.js';

// availability says whether an app can be played now. sites is {site: Capacity}.
export function availability(sites, w = english) {
  const all = Object.entries(sites ?? {});
  if (all.length === 0) return { kind: 'none', label: w.say('available.none'), hint: w.say('available.none.hint') };
  const ready = all.filter(([, c]) => c.idle > 0);
  const where = (some) => (some.length === 1 ? some[0][0] : w.say('available.sites', { n: some.length }));
  if (ready.length > 0) return { kind: 'ready', label: w.say('available.ready'), where: where(ready) };
  const startable = all.filter(([, c]) => !c.failing && c.idle + c.busy + c.starting < c.max);
  const coming = all.filter(([, c]) => !c.failing && c.starting > c.queued);
  const open = startable.length > 0 ? startable : coming;
  if (open.length > 0) {
    const known = open.map(([, c]) => c.cold_start_ms).filter((ms) => ms > 0);
    const label = known.length > 0 ? w.say('available.in', { time: about(Math.min(...known), w) }) : w.say('available.cold');
    return { kind: 'cold', label, where: where(open) };
  }
  const failing = all.find(([, c]) => c.failing);
  if (failing && all.every(([, c]) => c.failing)) {
    return { kind: 'failing', label: w.say('available.failing'), hint: failing[1].failing, where: where(all) };
  }
  const waiting = all.reduce((n, [, c]) => n + c.queued, 0);
  const label = waiting > 0 ? w.say('available.queue', { n: waiting }) : w.say('available.full');
  return { kind: 'full', label, where: where(all) };
}

// heldWords says that a session of the app is held, here or in another tab.
export const heldWords = (w = english) => ({ kind: 'ready', label: w.say('available.held') });

// about gives a duration in words, as exact as it is known.
export function about(ms, w = english) {
  const s = ms / 1000;
  if (s <= 1.5) return w.say('time.second');
  if (s < 10) return w.say('time.seconds', { n: Math.round(s) });
  if (s < 55) return w.say('time.seconds', { n: Math.round(s / 5) * 5 });
  if (s < 90) return w.say('time.minute');
  return w.say('time.minutes', { n: Math.round(s / 60) });
}

// ms formats milliseconds, with a decimal only below ten.
export const ms = (value, w = english) => w.say('time.ms', { n: value < 10 ? value.toFixed(1) : Math.round(value) });

// place is a site's name for people: AWS's regions have one, and a page may name others.
export const place = (site, w = english) => (w.has(`place.${site}`) ? w.say(`place.${site}`) : site);

// moved says that a site was lost, and where the person is now.
export function moved({ from, to, done }, w = english) {
  const values = { from: capital(place(from, w)), to: place(to, w) };
  return w.say(done ? 'moved.done' : 'moved.gone', values);
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// STATIONS are the steps of a start in their order: a wire.Phase each, and how long it takes.
export const STATIONS = [
  { phase: 'placing', weight: 0.08 },
  { phase: 'content', weight: 0.42 },
  { phase: 'display', weight: 0.1 },
  { phase: 'app', weight: 0.35 },
  { phase: 'ready', weight: 0.05 },
];

// waiting describes a state before the first frame: headline, sentence, and
// progress (0..1, or -1 where it is unknown).
export function waiting(state, w = english) {
  const { phase, queue, progress, awayAt, placeLost } = state;
  const plain = (head, text = '') => ({ head, text, fraction: -1, station: -1 });
  if (phase === 'launching' && state.moved) return plain(w.say('wait.another'), moved(state.moved, w));
  if (phase === 'launching' && placeLost) return plain(w.say('wait.place'), w.say('wait.lost'));
  if (phase === 'launching') return plain(w.say(state.relaunches ? 'wait.retry' : 'wait.choosing'));
  if (phase === 'connecting') return plain(w.say('wait.connecting'), state.crowd ? w.say('wait.crowd') : '');
  if (phase === 'reconnecting') return plain(w.say('wait.reconnecting'), w.say('wait.running'));
  if (phase === 'granted') return { head: w.say('wait.video'), text: '', fraction: 0.97, station: STATIONS.length - 1 };
  if (phase === 'leaving') return plain(w.say('wait.leaving'));
  if (phase === 'queued') {
    const n = queue?.position;
    const head = w.say(n === 1 ? 'queue.next' : n > 1 ? 'queue.number' : 'queue.in', { n });
    if (awayAt) return plain(head, w.say('wait.kept'));
    const time = queue?.estimate_ms >= 0 && about(queue.estimate_ms, w);
    const text = w.say(queue?.paused ? 'queue.paused' : !time ? 'queue.unknown' : queue.machine ? 'queue.machine' : 'queue.estimate', { time });
    return plain(head, placeLost ? `${w.say('wait.lost')} ${text}` : text);
  }
  if (awayAt) return plain(w.say('wait.again'), w.say('wait.kept'));
  const at = Math.max(0, STATIONS.findIndex((s) => s.phase === progress?.phase));
  const within = progress?.fraction >= 0 ? Math.min(1, progress.fraction) : 0;
  const before = STATIONS.slice(0, at).reduce((sum, s) => sum + s.weight, 0);
  return {
    head: w.say(`doing.${STATIONS[at].phase}`),
    text: progress?.detail ?? '',
    fraction: before + STATIONS[at].weight * within,
    within: progress?.fraction >= 0 ? within : -1,
    station: at,
  };
}

// known lists what this module describes, for the test that compares it with wire.
export const known = { phases: STATIONS.map((s) => s.phase) };
