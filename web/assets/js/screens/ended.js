// ended.js: how the session ended, and what the person can do now.

import { tokenOf } from '../token.js';
import { closed, ended } from '../words.js';
import { el } from '../ui/dom.js';
import { icon } from '../ui/icons.js';
import { whyDetails } from '../ui/why.js';

export function endedScreen(state, app, { play, takeBack }) {
  const w = wordsFor(state);
  const first = state.phase === 'replaced'
    ? el('button.primary', { type: 'button', onclick: takeBack }, 'Continue here')
    : el('button.primary', { type: 'button', onclick: play }, icon('again'), el('span', {}, w.again));
  const why = whyDetails();
  why.update(state.launch);
  const node = el('section.panel.ended', { role: 'status' },
    el('p.over', {}, app?.title || state.app),
    el('h1', {}, w.head),
    el('p.lead', {}, w.text),
    w.technical ? el('p.technical', {}, w.technical) : null,
    el('div.actions', {}, first,
      w.check ? el('a.quiet.check-network', { href: checkPage(state.launch?.site) }, 'Check your network') : null,
      el('a.quiet', { href: '/' }, 'All apps')),
    why.node);
  node.classList.toggle('bad', w.bad);
  return { node, focus: () => first.focus({ preventScroll: true }) };
}

const checkPage = (site) => (site ? `/check?site=${encodeURIComponent(site)}` : '/check');

function wordsFor(state) {
  if (state.phase === 'replaced') {
    return { head: 'Continued in another page', text: 'Another page took over this session. It continues there.', technical: '', bad: false };
  }
  if (state.phase === 'refused') {
    const shut = closed(state.problem, Boolean(tokenOf(state.app)));
    if (shut) return { ...shut, bad: true, again: 'Try again' };
    const { title, detail, type, check } = state.problem ?? {};
    const kind = type && type !== 'about:blank' ? type : '';
    return { head: title || 'This app cannot be played now', text: detail || 'Try again in a moment.', technical: kind, check, bad: true, again: 'Try again' };
  }
  return ended(state.end);
}
