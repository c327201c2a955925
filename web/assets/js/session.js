// session.js: what a session is and may become. Pure: reduce() takes a state and
// an event and gives the next state and the effects to carry out; it touches
// nothing. player.js carries effects out and feeds back what comes of them.
//
//	ready → launching → connecting → (queued ⇄ starting) → granted → streaming
//	queued, starting              stay so while their brain is lost (line.js)
//	streaming ⇄ reconnecting      the picture was lost; the seat waits for its grace
//	any → leaving → ended         or refused, or replaced by another page
//	any → launching               the site is lost: once more, at another one
//
// Two things may be lost independently. `signal` is the WebSocket: while the
// picture flows it is replaced silently. `media` is the peer connection: when it
// goes, a new one is made through whatever brain can be reached.

import { brainsOf, noMedia } from './brains.js';
import { initial, over, refuse, relaunch, tidy } from './ends.js';
import * as line from './line.js';
import { HELD, OVER, WAITING } from './phases.js';
import { again } from './reconnect.js';
import { askAgain, restarts, settled } from './restart.js';
import { CLOSE_REPLACED } from './signal.js';

export { initial };

export const RENEW_MS = 40_000;      // tickets live 60 s
export const FIRST_FRAME_MS = 8_000; // granted → picture, before another try
export const RETRY_MEDIA_MS = 5_000; // the same while reconnecting
export const DIRECT_MS = 1_000;     // answer → a path to the seat, before one by TURN is tried
export const CROWD_MS = 3_000;      // without a brain's first word, before the person is told why
export const LEAVE_MS = 1_500;       // how long a goodbye may take
const MAX_MEDIA_TRIES = 3;
const DEFAULT_GRACE_S = 60;

export function reduce(state, event) {
  const handler = handlers[event.type];
  return handler ? handler(state, event) ?? [state, []] : [state, []];
}

const handlers = {
  ...restarts,

  // The person pressed Play.
  play(s) {
    if (!OVER.has(s.phase)) return null;
    return [{ ...initial(s.app), phase: 'launching' }, [{ do: 'launch' }]];
  },

  // prepared says that this was done before Play, and that the socket has the offer (resting.js).
  launched(s, { launch, prepared = false }) {
    if (s.phase !== 'launching') return null; // cancelled meanwhile: the ticket lapses unused
    const urls = brainsOf(launch);
    const next = {
      ...s, phase: 'connecting', launch, urls, turn: 0, signal: 'opening', offered: true, prepared,
      moved: s.moved && { ...s.moved, to: launch.site },
    };
    if (prepared) return [next, [{ do: 'timer', name: 'renew', ms: RENEW_MS }]];
    return [
      next,
      [
        { do: 'ice', servers: launch.ice_servers ?? [] },
        { do: 'signal', url: urls[0], hello: { ticket: launch.ticket }, offer: true },
        { do: 'timer', name: 'renew', ms: RENEW_MS },
        { do: 'timer', name: 'crowd', ms: CROWD_MS },
      ],
    ];
  },

  'launch-failed'(s, { problem, now }) {
    if (s.phase !== 'launching') return null;
    if (s.moved?.back) return goBack(s, now); // no other site has a seat: the old one is still the best
    return problem.status === 0 ? relaunch(s, problem) : refuse(s, problem);
  },

  // The page was reloaded while it held a seat.
  saved(s, { saved, now }) {
    if (s.phase !== 'ready') return null;
    const next = {
      ...s, phase: 'reconnecting', reloaded: true, lostAt: now, grant: saved.grant,
      urls: saved.urls, launch: { site: saved.site }, signal: 'opening', offered: true,
    };
    return [next, [
      { do: 'signal', url: next.urls[0], hello: { resume: saved.grant.resume }, offer: true },
      ...graceTimers(next),
    ]];
  },

  'signal-open'(s) {
    const next = { ...s, signal: 'open', ...(WAITING.has(s.phase) && line.said(s)) };
    if (s.phase === 'leaving') return [next, [{ do: 'send', message: { type: 'leave' } }]];
    return [next, handlers['way-shut'](s)?.[1] ?? []]; // it may have taken the socket of a search for another way
  },

  message(s, { message, now }) {
    // A refusal is no sign of health: repeated refusals back off.
    if (late(s) && (message.type === 'refused' || message.type === 'ended')) return anew(s);
    const healthy = message.type === 'refused' ? s : { ...s, failures: 0, awayAt: 0 };
    return messages[message.type]?.(healthy, message, now) ?? null;
  },

  'signal-closed'(s, { code, opened, now }) {
    const next = { ...s, signal: 'closed' };
    if (s.phase === 'leaving') return over(next, { reason: 'left' });
    if (OVER.has(s.phase)) return [next, []];
    if (late(s)) return anew(s);
    if (code === CLOSE_REPLACED && HELD.has(s.phase)) {
      return [{ ...next, phase: 'replaced', media: 'none' }, [...tidy(), { do: 'forget' }]];
    }
    return HELD.has(s.phase) ? resignal(next) : line.lostBrain(next, { opened, now });
  },

  // The brain of a waiting person is silent, and their socket does not notice.
  'brain-silent'(s, { now }) {
    if (!WAITING.has(s.phase) || s.signal === 'closed') return null;
    const [next, effects] = line.lostBrain({ ...s, signal: 'closed' }, { opened: true, now });
    return [next, [{ do: 'closeSignal' }, ...effects]];
  },

  // The browser has found a path to the seat, or found that there is none.
  path(s, { found }) {
    return found ? [s, [{ do: 'cancel', name: 'direct' }]] : relay(s);
  },

  // Frames are being shown.
  'media-live'(s) {
    if (!HELD.has(s.phase)) return null;
    return [
      {
        ...s, phase: 'streaming', media: 'live', mediaTries: 0, lostAt: 0, reloaded: false,
        moved: s.moved && { ...s.moved, done: true, back: null },
      },
      [{ do: 'cancel', name: 'media' }, { do: 'cancel', name: 'grace' }, { do: 'cancel', name: 'direct' }],
    ];
  },

  'media-lost'(s, { now, failed }) {
    if (s.phase !== 'streaming') return null;
    // What was lost may be the direct path, and the socket's where the browser itself gave up (failed).
    const next = { ...settled(s), phase: 'reconnecting', media: 'lost', lostAt: now, offered: false, relaying: hasRelays(s) };
    const effects = [{ do: 'cancel', name: 'ask' }, ...graceTimers(next)];
    return failed && s.signal === 'open' ? openOther(next, effects) : withOffer(next, effects);
  },

  // The site is lost for this person, while others answer (see verdict.js): they
  // get a new seat at another site, without being asked.
  'site-lost'(s, { site, now }) {
    if (!(HELD.has(s.phase) || WAITING.has(s.phase)) || s.launch?.site !== site) return null;
    if (line.holdsOn(s, now)) return null;
    const back = s.grant ? { grant: s.grant, urls: s.urls, launch: s.launch, lostAt: s.lostAt || now } : null;
    const next = {
      ...initial(s.app), phase: 'launching', lost: [...new Set([...s.lost, site])],
      moved: { from: site, to: '', at: now, done: false, back },
    };
    return [next, [...tidy(next), { do: 'prepare' }, { do: 'launch' }]];
  },

  // The site answers again after a silence. What was sent meanwhile is lost, and
  // the socket may take long to notice.
  reachable(s) {
    if (s.phase !== 'reconnecting') return null;
    return openOther({ ...s, offered: false }, [{ do: 'timer', name: 'media', ms: RETRY_MEDIA_MS }]);
  },

  // /v1/sites was asked for more brains of the session's site.
  brains(s, { urls }) {
    return [{ ...s, urls: [...new Set([...s.urls, ...urls])] }, []];
  },

  // The device is online again, or the page is visible again.
  wake(s, { online }) {
    if (online && s.phase === 'reconnecting') return handlers.reachable(s);
    // The socket was opened by another network, and would never say that it is dead.
    if (online && s.phase === 'streaming' && s.signal === 'open' && !s.restarting) return openOther(s);
    if (s.signal !== 'closed') return null;
    if (WAITING.has(s.phase)) return line.back(s);
    return HELD.has(s.phase) ? openAgain(s) : null;
  },

  renewed(s, { ticket }) {
    if (!WAITING.has(s.phase)) return null;
    const effects = [{ do: 'timer', name: 'renew', ms: RENEW_MS }];
    if (s.signal === 'open') effects.unshift({ do: 'send', message: { type: 'ticket', ticket } });
    // So long a wait makes up for the attempts before it.
    return [{ ...s, launch: { ...s.launch, ticket }, relaunches: 0 }, effects];
  },

  'renew-failed'(s, { problem }) {
    if (!WAITING.has(s.phase)) return null;
    // A brain that has the person will say so itself.
    if (s.signal !== 'open' && line.isStale(problem)) return line.lostPlace(s, problem);
    return [s, [{ do: 'timer', name: 'renew', ms: 5_000 }]];
  },

  // The person ends the wait or the session.
  leave(s) {
    if (s.phase === 'launching' || WAITING.has(s.phase)) {
      return [{ ...initial(s.app) }, [
        { do: 'send', message: { type: 'leave' } }, ...tidy(), { do: 'prepare' }]];
    }
    if (!HELD.has(s.phase)) return null;
    const effects = [
      { do: 'cancel' }, { do: 'closePeer' }, { do: 'forget' },
      { do: 'timer', name: 'leave', ms: LEAVE_MS },
    ];
    const next = { ...s, phase: 'leaving', media: 'none' };
    if (s.signal === 'open') return [next, [{ do: 'send', message: { type: 'leave' } }, ...effects]];
    return [{ ...next, signal: 'opening' }, [...effects,
      { do: 'signal', url: url(s), hello: { resume: s.grant.resume }, offer: false }]];
  },

  // Another page took over the session; the person wants it back here.
  takeBack(s, { now }) {
    if (s.phase !== 'replaced') return null;
    const next = { ...s, phase: 'reconnecting', media: 'lost', lostAt: now, signal: 'opening', offered: true };
    return [next, [
      { do: 'prepare' },
      { do: 'signal', url: url(s), hello: { resume: s.grant.resume }, offer: true },
      ...graceTimers(next)]];
  },

  timer(s, { name }) {
    return timers[name]?.(s) ?? null;
  },
};

// Messages of brains and seats; see internal/wire/signal.go.
const messages = {
  queued(s, { queue }) {
    return WAITING.has(s.phase) ? [{ ...s, phase: 'queued', queue, progress: null }, []] : null;
  },

  starting(s, { progress }) {
    return WAITING.has(s.phase) ? [{ ...s, phase: 'starting', progress, queue: null }, []] : null;
  },

  granted(s, { grant }) {
    if (!WAITING.has(s.phase) && !HELD.has(s.phase)) return null;
    const prepared = s.prepared && Boolean(grant.prepared);
    // The second grant of a prepared seat comes from the seat alone, which knows of no relays.
    const servers = grant.ice_servers ?? ((s.prepared && s.grant?.ice_servers) || []);
    const next = { ...s, prepared, grant: { ...grant, ice_servers: servers }, windows: 0 };
    const effects = [{ do: 'remember' }, { do: 'cancel', name: 'renew' }, { do: 'relays', servers }];
    if (s.media === 'live') return [{ ...next, phase: 'streaming' }, effects];
    if (s.phase !== 'reconnecting') {
      next.phase = 'granted';
      effects.push({ do: 'timer', name: 'media', ms: FIRST_FRAME_MS });
    }
    return s.offered ? [next, effects] : withOffer(next, effects);
  },

  // No seat was to spare before Play: now the person waits for one.
  unprepared: (s) => [{ ...s, prepared: false }, []],

  answer(s, { sdp, restart }, now) {
    if (!HELD.has(s.phase) || restart && s.phase !== 'streaming' || !sdp && !s.restarting) return null;
    // A seat that has restarted has left the old way, also where that works again by now.
    if (s.restarting && !restart) return handlers['media-lost'](s, { now });
    const effects = [{ do: 'answer', sdp }];
    if (s.media !== 'live' && hasRelays(s) && !s.relaying) effects.push({ do: 'timer', name: 'direct', ms: DIRECT_MS });
    return [s, effects];
  },

  candidate(s, { candidate }) {
    return HELD.has(s.phase) ? [s, [{ do: 'candidate', candidate }]] : null;
  },

  // Another number of the app's windows; none is told where there is one.
  windows(s, { windows }) {
    return HELD.has(s.phase) ? [{ ...s, windows: windows ?? 0 }, []] : null;
  },

  ending(s, { ending }) {
    return HELD.has(s.phase) ? [{ ...s, ending }, []] : null;
  },

  looked: (s) => [{ ...s, looked: {} }, []],

  // New credentials, before those of the grant expire.
  ice(s, { ice_servers: servers }) {
    if (!HELD.has(s.phase) || !Array.isArray(servers)) return null;
    return [{ ...s, grant: { ...s.grant, ice_servers: servers } }, [{ do: 'remember' }, { do: 'relays', servers }]];
  },

  ended(s, { end }) {
    return OVER.has(s.phase) ? null : over(s, end ?? { reason: 'error' });
  },

  refused(s, { problem }, now) {
    if (OVER.has(s.phase)) return null;
    if (s.phase === 'leaving') return over(s, { reason: 'left' });
    const type = problem?.type ?? '';
    if (WAITING.has(s.phase) || s.phase === 'granted') return line.refused(s, problem, now);
    // The picture flows, so the seat is alive, whatever this brain knows.
    if (s.media === 'live') return nextBrain(s);
    const gone = type.endsWith('/resume') || type.endsWith('/ticket');
    if (!gone) return nextBrain(s); // another brain may know more
    if (!s.reloaded) return over(s, { reason: 'lost' });
    return [{ ...initial(s.app), notice: 'notice.earlier' }, [...tidy(), { do: 'forget' }, { do: 'prepare' }]];
  },
};

const timers = {
  crowd: (s) => (s.phase === 'connecting' ? [{ ...s, crowd: true }, []] : null),
  renew: (s) => (WAITING.has(s.phase) ? [s, [{ do: 'renew' }]] : null),
  relaunch: (s) => (s.phase === 'launching' ? [s, [{ do: 'launch' }]] : null),
  resignal(s) {
    if (s.signal !== 'closed' || !(HELD.has(s.phase) || WAITING.has(s.phase))) return null;
    const [next, effects] = WAITING.has(s.phase) ? line.back(s) : openAgain(s);
    return [next, [...effects, { do: 'brains', site: s.launch?.site }]]; // for the attempt after this one
  },
  direct: relay, ask: askAgain,
  grace: (s) => (s.phase === 'reconnecting' ? over(s, { reason: 'lost' }) : null),
  leave: (s) => (s.phase === 'leaving' ? over(s, { reason: 'left' }) : null),

  // No picture in time.
  media(s) {
    if (s.phase === 'granted') {
      if (s.mediaTries + 1 >= MAX_MEDIA_TRIES) {
        const [next, effects] = refuse(s, noMedia());
        return [next, [{ do: 'send', message: { type: 'leave' } }, ...effects]];
      }
      const next = { ...s, mediaTries: s.mediaTries + 1, offered: false };
      return withOffer(next, [{ do: 'timer', name: 'media', ms: FIRST_FRAME_MS }]);
    }
    if (s.phase !== 'reconnecting') return null;
    // The socket may only look alive: start again through the next brain.
    return openOther({ ...s, turn: s.turn + 1, offered: false }, [{ do: 'timer', name: 'media', ms: RETRY_MEDIA_MS }]);
  },
};

// late: Play was pressed, and the seat that was prepared has not said that it is the session's.
const late = (s) => s.prepared && s.media !== 'live' && (WAITING.has(s.phase) || HELD.has(s.phase));

// anew launches as if nothing had been prepared: nobody is told that it was.
const anew = (s) => [{ ...initial(s.app), phase: 'launching' }, [...tidy(), { do: 'forget' }, { do: 'prepare' }, { do: 'launch' }]];

const url = (s) => s.urls[s.turn % s.urls.length];

const hasRelays = (s) => (s.grant?.ice_servers ?? []).length > 0;

// relay offers a peer that may use TURN: the direct path did not come in time. The
// seat makes a new peer for each offer, and nothing of the first was of use.
function relay(s) {
  if (!HELD.has(s.phase) || s.media === 'live' || s.relaying || !hasRelays(s)) return null;
  return withOffer({ ...s, relaying: true, offered: false }, [{ do: 'cancel', name: 'direct' }]);
}

// withOffer sends the seat the offer of a new peer, now if the socket is open.
function withOffer(s, effects) {
  if (s.signal === 'open') return [{ ...s, offered: true }, [{ do: 'offer' }, ...effects]];
  if (s.signal === 'opening') return [s, effects]; // granted will see that none was offered
  const [next, more] = openAgain(s);
  return [next, [...more, ...effects]];
}

// openAgain goes back to the seat through a brain, with an offer if there is no picture.
function openAgain(s) {
  const offer = s.media !== 'live';
  const effects = [{ do: 'cancel', name: 'resignal' }, ...(offer ? [{ do: 'prepare' }] : []),
    { do: 'signal', url: url(s), hello: { resume: s.grant.resume }, offer }];
  return [{ ...s, signal: 'opening', offered: offer }, effects];
}

// openOther is openAgain in place of a socket that may only look alive.
const openOther = (s, more = [], [next, effects] = openAgain(s)) => [next, [{ do: 'closeSignal' }, ...effects, ...more]];

// resignal plans the next attempt: the same brain soon, then others.
function resignal(s) {
  const failures = s.failures + 1;
  return [
    { ...s, failures, turn: failures > 1 ? s.turn + 1 : s.turn },
    [{ do: 'timer', name: 'resignal', ...again(failures, s.media === 'live') }],
  ];
}

// nextBrain gives up a brain that refused.
function nextBrain(s) {
  const [next, effects] = resignal({ ...s, signal: 'closed', failures: Math.max(1, s.failures) });
  return [next, [{ do: 'closeSignal' }, ...effects]];
}

// goBack waits for the seat at a site that seemed lost, for the rest of its grace.
function goBack(s, now) {
  const { grant, urls, launch, lostAt } = s.moved.back;
  const left = (grant.grace_s || DEFAULT_GRACE_S) * 1000 - (now - lostAt);
  if (left <= 0) return over(s, { reason: 'lost' });
  const next = {
    ...initial(s.app), phase: 'reconnecting', media: 'lost', lostAt, grant, urls, launch,
    signal: 'opening', offered: true,
  };
  return [next, [
    { do: 'signal', url: urls[0], hello: { resume: grant.resume }, offer: true },
    { do: 'timer', name: 'grace', ms: left }, { do: 'timer', name: 'media', ms: RETRY_MEDIA_MS }]];
}

function graceTimers(s) {
  return [
    { do: 'timer', name: 'grace', ms: (s.grant?.grace_s || DEFAULT_GRACE_S) * 1000 },
    { do: 'timer', name: 'media', ms: RETRY_MEDIA_MS },
  ];
}
