// ended.js: how the session ended, and what the person can do now.

import { english } from '../language.js';
import { closed, ended, missing, refused } from '../later/words.js';
import { el } from '../ui/dom.js';
import { icon } from '../ui/icons.js';
import { whyDetails } from '../ui/why.js';

// src is the origin of the router, '' that of the page; home a page that lists the apps, if there
// is one; hasToken says that there is a launch token.
export function endedScreen(state, app, { play, takeBack, hasToken = false, src = '', home = '', id = state.app, w: words = english }) {
  const w = wordsFor(state, { hasToken, embedded: embedded(src) }, words);
  const first = state.phase === 'replaced'
    ? el('button.primary', { type: 'button', onclick: takeBack, part: 'button' }, words.say('play.here'))
    : el('button.primary', { type: 'button', onclick: play, part: 'button play' }, icon('again'), el('span', {}, w.again));
  const why = whyDetails(words);
  why.update(state.launch);
  const node = el('section.panel.ended', { role: 'status', part: 'panel' },
    el('p.over', { part: 'app' }, app?.title || state.app),
    el('h1', { part: 'title' }, w.head),
    el('p.lead', { part: 'text' }, w.text),
    w.technical ? el('p.technical', {}, w.technical) : null,
    el('div.actions', {}, w.login ? wayIn(w.login, { src, id }, words) : null, first,
      w.check ? el('a.quiet.check-network', { href: src + checkPage(state.launch?.site), target: home ? '' : '_blank', rel: 'noopener', part: 'button' }, words.say('check.network')) : null,
      home ? el('a.quiet', { href: home, part: 'button' }, words.say('apps.all')) : null),
    why.node);
  node.classList.toggle('bad', w.bad);
  return { node, focus: () => first.focus({ preventScroll: true }) };
}

const checkPage = (site) => (site ? `/check?site=${encodeURIComponent(site)}` : '/check');

function wordsFor(state, at, w) {
  if (state.phase === 'replaced') return { head: w.say('end.replaced'), text: w.say('end.replaced.text'), technical: '', bad: false };
  if (state.phase === 'refused') {
    const shut = closed(state.problem, at.hasToken, w, at.embedded);
    return shut ? { ...shut, bad: true, again: w.say('play.retry') } : refused(state.problem ?? {}, w);
  }
  return ended(state.end, w);
}

// embedded: in a page of others, by the element or in a frame.
const embedded = (src) => Boolean(src) || window.top !== window;

// wayIn leads a person to the login. In a page of others, whose address the login does not lead back to, and
// where browsers keep the cookie away, it opens the player's own page.
function wayIn(login, { src, id }, w) {
  const app = encodeURIComponent(id);
  const own = !embedded(src) && location.pathname === `/play/${app}`;
  if (!own) return el('a.primary', { href: `${src}/play/${app}`, target: '_blank', rel: 'noopener', part: 'button' }, w.say('login.open'));
  const href = `/login?app=${app}&query=${encodeURIComponent(location.search.slice(1))}${login === 'other' ? '&anew=1' : ''}`;
  return el('a.primary.log-in', { href, part: 'button' }, w.say(login === 'other' ? 'login.other' : 'login.in'));
}

// closedScreen says why this page may not launch an app. home is the page that lists the apps, if there is
// one.
export function closedScreen(problem, hasToken, { src, home, id, w }) {
  const words = closed(problem, hasToken, w, embedded(src)) ?? missing(id, w);
  // What scrolls has something that takes the focus.
  return el('section.panel', { role: 'status', part: 'panel', ...(!home && !words.login && { tabIndex: 0 }) },
    el('h1', { part: 'title' }, words.head),
    el('p.lead', { part: 'text' }, words.text),
    words.technical ? el('p.technical', {}, words.technical) : null,
    home || words.login ? el('div.actions', {}, words.login ? wayIn(words.login, { src, id }, w) : null,
      home ? el(words.login ? 'a.quiet' : 'a.primary', { href: home, part: 'button' }, w.say('apps.see')) : null) : null);
}
