// sessions.js: the list of sessions.

import { NONE, fps, millis, rate, share, short, since } from './format.js';
import { listPage } from './lists.js';
import { LIMITS, causeOf, shortOf } from './verdict.js';

// Sessions are replaced when they change, so what was computed of one is good as long as it is.
const causes = new WeakMap();

function verdictOf(session, { model, now }) {
  let v = causes.get(session);
  if (!v) {
    v = causeOf({ measured: session.measured, state: session.state, node: model.nodeOf(session), now: now() });
    causes.set(session, v);
  }
  return v;
}

export const whose = (s) => [s.customer, s.subject && short(s.subject)].filter(Boolean).join(' · ') || 'nobody named';

const beyond = (value, limit) => (value >= limit ? 'bad' : '');

export function sessionsPage(ctx) {
  const m = (s) => s.measured;
  return listPage(ctx, {
    kind: 'sessions', heading: 'Sessions', one: 'session', sort: 'since',
    columns: [
      { id: 'session', name: 'Session', text: (s) => short(s.session), value: (s) => s.session },
      { id: 'subject', name: 'Customer · subject', text: whose, value: (s) => `${s.customer ?? ''} ${s.subject ?? ''}`.trim() },
      { id: 'app', name: 'App', text: (s) => s.app, value: (s) => s.app },
      { id: 'site', name: 'Site', text: (s) => s.site, value: (s) => s.site },
      { id: 'state', name: 'State', text: (s) => s.state, value: (s) => s.state, tone: (s) => (s.state === 'streaming' ? 'good' : 'faint') },
      { id: 'slow', name: 'Slow by', text: (s) => shortOf(verdictOf(s, ctx)), value: (s) => shortOf(verdictOf(s, ctx)), tone: (s) => toneOf(verdictOf(s, ctx)) },
      { id: 'since', name: 'Since', num: true, down: true, text: (s) => since(s.since, ctx.now()), value: (s) => -Date.parse(s.since) },
      { id: 'rtt', name: 'Round trip', num: true, down: true, text: (s) => millis(m(s)?.rtt_ms), value: (s) => m(s)?.rtt_ms, tone: (s) => beyond(m(s)?.rtt_ms, LIMITS.rtt_ms) },
      { id: 'fps', name: 'FPS', num: true, text: (s) => fps(m(s)?.fps), value: (s) => m(s)?.fps },
      { id: 'rate', name: 'Bitrate', num: true, down: true, text: (s) => rate(m(s)?.bitrate_kbps), value: (s) => m(s)?.bitrate_kbps },
      { id: 'loss', name: 'Loss', num: true, down: true, text: (s) => share(m(s)?.loss), value: (s) => m(s)?.loss, tone: (s) => beyond(m(s)?.loss, LIMITS.loss) },
      { id: 'encoder', name: 'Encoder', text: (s) => m(s)?.encoder || NONE, value: (s) => m(s)?.encoder },
    ],
    filters: [
      { id: 'site', label: 'Site', of: (s) => s.site },
      { id: 'app', label: 'App', of: (s) => s.app },
      { id: 'state', label: 'State', of: (s) => s.state },
      { id: 'slow', label: 'Slow by', of: (s) => shortOf(verdictOf(s, ctx)) },
    ],
    find: (s) => `${s.session} ${s.customer ?? ''} ${s.subject ?? ''} ${s.app} ${s.site} ${s.node ?? ''} ${s.seat ?? ''} ${m(s)?.encoder ?? ''}`,
  });
}

const toneOf = (v) => (v.cause === 'none' ? 'good' : v.cause === 'unknown' ? 'faint' : v.old ? '' : 'bad');
