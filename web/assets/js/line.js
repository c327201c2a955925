// line.js: a person in the queue whose brain is lost. Pure, as session.js.
//
// The place in the queue belongs to the ticket, not to a socket: all brains of a site go by
// when the ticket's session was launched, and a renewed ticket still says that. So the
// page keeps its ticket, renews it meanwhile, and shows it to a brain of the same site
// again and again. A new launch would be the end of the line: it is made only where
// no brain takes the ticket any more, and then the person is told.

import { noBrain, siteOf } from './brains.js';
import { refuse, relaunch } from './ends.js';
import { WAITING } from './phases.js';
import { inLine } from './reconnect.js';

export const HOLD_ON_MS = 10_000; // how long the brains of a site may be away: longer than a restart
const MAX_UNHEARD = 2; // sockets in a row that were lost before a brain has given a place

const LINE = new Set(['queued', 'starting']);

const url = (s) => s.urls[s.turn % s.urls.length];

// said notes which brain has the ticket now. From then on only brains of its site can
// give the place back.
export function said(s) {
  if (s.said) return {};
  const site = siteOf(s.launch, url(s));
  return {
    said: true, urls: [url(s)], turn: 0, launch: { ...s.launch, site }, before: { urls: s.urls, turn: s.turn, launch: s.launch },
    moved: s.moved && { ...s.moved, to: site },
  };
}

// lostBrain: the socket of a waiting person has closed.
export function lostBrain(s, { opened, now, problem = noBrain() }) {
  if (!opened && !s.said) {
    if (s.turn + 1 >= s.urls.length) return relaunch(s, problem);
    // No brain has seen the ticket yet: the next candidate can use it.
    const next = { ...s, turn: s.turn + 1, signal: 'opening' };
    return [next, [{ do: 'signal', url: url(next), hello: { ticket: s.launch.ticket }, offer: true }]];
  }
  const failures = s.failures + 1;
  if (!LINE.has(s.phase) && failures > MAX_UNHEARD) return relaunch(s, problem);
  return [
    { ...s, signal: 'closed', failures, turn: failures > 1 ? s.turn + 1 : s.turn, awayAt: s.awayAt || now },
    [{ do: 'timer', name: 'resignal', ...inLine(failures, s.queue?.position) }],
  ];
}

// back shows the ticket to a brain again. The offer is new: the network may be another.
export function back(s) {
  return [{ ...s, signal: 'opening', offered: true }, [
    { do: 'cancel', name: 'resignal' }, { do: 'prepare' },
    { do: 'signal', url: url(s), hello: { ticket: s.launch.ticket }, offer: true },
  ]];
}

// holdsOn: a closed socket means that the site's machines are there, and only the
// brain is not. To go to another site at once would give up the place.
export const holdsOn = (s, now) => LINE.has(s.phase) && s.awayAt > 0 && now - s.awayAt < HOLD_ON_MS;

// refused: what a refusal means for a person without a picture.
export function refused(s, problem, now) {
  if (isStale(problem)) return s.relaunches === 0 ? lostPlace(s, problem) : refuse(s, problem);
  // This brain has as many people as it can take, for now; the next one may have room.
  if (WAITING.has(s.phase) && isBusy(problem)) {
    if (s.phase === 'connecting' && s.failures === 0 && is(problem, 'unavailable')) return elsewhere({ ...s, ...s.before }, problem);
    const [next, effects] = lostBrain({ ...s, failures: Math.max(1, s.failures) }, { opened: true, now, problem });
    return [next, [{ do: 'closeSignal' }, ...effects]];
  }
  return refuse(s, problem);
}

// elsewhere takes the ticket, for which there is no place yet, from a full brain to the next one at
// once. Where one address stands for all brains of the site, to ask there again may reach
// another one.
function elsewhere(s, problem) {
  const again = !s.asked && !s.launch.spare_brain_urls?.length;
  const turn = again ? s.turn : s.turn + 1;
  if (turn >= s.urls.length) return relaunch(s, problem);
  return [{ ...s, turn, asked: true, said: false, before: null, signal: 'opening' }, [
    { do: 'closeSignal' }, { do: 'signal', url: s.urls[turn], hello: { ticket: s.launch.ticket }, offer: true }]];
}

// isStale: the ticket has expired, or a brain that died has marked it as used.
export const isStale = (problem) => is(problem, 'ticket', 'ticket-used');

const isBusy = (problem) => is(problem, 'unavailable', 'too-many');

const is = (problem, ...kinds) => kinds.some((kind) => problem?.type?.endsWith(`/${kind}`));

// lostPlace launches anew, at the end of the line.
export const lostPlace = (s, problem) => relaunch({ ...s, placeLost: s.placeLost || LINE.has(s.phase) }, problem);
