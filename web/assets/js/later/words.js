// words.js: every reason and code with which a session ends or does not begin as a sentence for
// the person at the page, in the words of language.js. Pure; a test compares it with wire, so that
// nothing is missing.

import { english } from '../language.js';
import { about } from '../words.js';
import './en.js';

// SOURCES say where a round trip comes from: wire.RTTSource.
const SOURCES = ['measured', 'predicted', 'assumed'];
export const source = (name, w = english) => (SOURCES.includes(name) ? w.say(`rtt.${name}`) : '');

const ENDS = ['left', 'idle', 'time-limit', 'lost', 'app-exited', 'drained', 'retired', 'error'];

const CODES = [
  'content-missing', 'content-denied', 'content-truncated', 'content-checksum', 'content-store', 'content-timeout', 'disk-full', 'disk-failed',
  'display-failed', 'app-not-found', 'app-no-window', 'app-not-ready', 'encoder-failed', 'memory-limit', 'config', 'stream-host-died', 'too-large', 'no-capacity',
];

// ended describes a wire.End. again is the label of the first button, technical is
// what a person would report to an operator.
export function ended(end, w = english) {
  const crashed = end.reason === 'app-exited' && (end.signal || end.exit_code);
  const known = end.reason === 'error' && CODES.includes(end.code) ? `code.${end.code}` : `end.${ENDS.includes(end.reason) ? end.reason : 'error'}`;
  const key = crashed ? 'end.crashed' : known;
  const out = { head: w.say(key), text: w.say(`${key}.text`), bad: end.reason === 'error' || Boolean(crashed), technical: '' };
  if (crashed) out.technical = end.signal ? `app-exited(signal ${end.signal})` : `app-exited(${end.exit_code})`;
  else if (end.reason === 'error') out.technical = end.code ? `error(${end.code})` : 'error';
  if (end.detail && out.technical) out.technical += `: ${end.detail}`;
  out.again = w.say(out.bad || end.reason === 'lost' || end.reason === 'drained' ? 'play.start' : 'play.again');
  return out;
}

// ending says that a session will end soon, in a headline and a sentence.
export function ending({ reason, after_s: after }, w = english) {
  const key = reason === 'time-limit' ? 'soon.others' : 'soon.end';
  return [w.say(key), w.say(`${key}.text`, { time: about(after * 1000, w) })];
}

// looked says that somebody who runs the app looks at a still of the picture.
export const looked = (w = english) => [w.say('looked'), w.say('looked.text')];

// closed describes why an app cannot be launched from here: it is open only to those
// with a launch token or a login, and there is none, or it does not hold. null for other problems. A person came
// to our own page by a link; in a page that embeds the player that page has to bring the token.
export function closed(problem, hasToken, w = english, embedded = false) {
  const type = problem?.type ?? '';
  const words = (what, technical) => {
    const key = `shut.${embedded ? 'page.' : ''}${what}`;
    return { head: w.say(key), text: w.say(`${key}.text`), technical };
  };
  // login says that a person may log in, or log in as somebody else; trouble how that went wrong.
  if (type.endsWith('/login')) return { ...words('login', ''), ...(problem.trouble && { text: w.say(`shut.${problem.trouble}`) }), login: 'in' };
  if (type.endsWith('/login-groups')) return { ...words('groups', problem.detail ?? ''), login: 'other' };
  if (type.endsWith('/launch-expired')) return words('expired', problem.detail ?? '');
  if (!type.endsWith('/launch-token')) return null;
  return hasToken ? words('refused', problem.detail ?? '') : words('token', '');
}

// missing says that there is no such app.
export const missing = (app, w = english) => ({ head: w.say('shut.missing'), text: w.say('shut.missing.text', { app }), technical: '' });

// refused describes a problem. Those that the player found itself name their words (own); what a
// router says is said as it is.
export function refused({ own, status, title, detail, type, check } = {}, w = english) {
  const kind = type && type !== 'about:blank' ? type : '';
  const head = own ? w.say(`problem.${own}`) : title || w.say('end.refused');
  const text = own ? w.say(`problem.${own}.text`, { status }) : detail || w.say('end.refused.text');
  return { head, text, technical: kind, check, bad: true, again: w.say('play.retry') };
}

// known lists what this module describes, for the test that compares it with wire.
export const known = { reasons: ENDS, codes: CODES, sources: SOURCES };

const CLIPBOARD = { large: 'large', 'write-later': 'later', 'write-denied': 'write', 'read-denied': 'read' };

// clipboardTrouble says why a clipboard did not get what it should, and what to do.
export function clipboardTrouble(why, w = english) {
  const key = `clip.${CLIPBOARD[why] ?? 'insecure'}`;
  return [w.say(key), w.say(`${key}.text`)];
}
