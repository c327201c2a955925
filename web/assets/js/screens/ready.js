// ready.js: an app before Play: what it is, how far it is, and the button.

import { availability } from '../words.js';
import { el, setText } from '../ui/dom.js';
import { icon } from '../ui/icons.js';

export function readyScreen({ play, resting, distance }) {
  const title = el('h1');
  const text = el('p.lead');
  let asked = false; // the page itself puts the focus on Play
  const rest = () => { if (!asked) resting.rest(); };
  const unrest = () => resting.unrest();
  const button = el('button.primary.play-button', {
    type: 'button', onclick: play, onpointerenter: rest, onpointermove: rest, onpointerdown: rest, onpointerleave: unrest, onfocus: rest, onblur: unrest,
  }, icon('play'), el('span', {}, 'Play'));
  const chip = el('span.chip', {}, el('i'), el('span'));
  const notice = el('p.ribbon', { role: 'status', hidden: true });
  const hint = el('p.hint', { hidden: true });
  const node = el('section.panel.ready', {}, notice, title, text,
    el('div.actions', {}, button, chip), hint, distance);
  return {
    node,
    focus() {
      asked = true;
      button.focus({ preventScroll: true });
      asked = false;
    },
    update(state, app) {
      button.classList.toggle('pressed', state.phase !== 'ready');
      button.setAttribute('aria-busy', state.phase !== 'ready');
      setText(title, app?.title || state.app);
      setText(text, app?.description ?? '');
      notice.hidden = !state.notice;
      setText(notice, state.notice);
      const r = app ? availability(app.sites) : null;
      chip.hidden = !r;
      hint.hidden = !r?.hint;
      if (!r) return;
      chip.dataset.kind = r.kind;
      setText(chip.lastChild, r.label);
      setText(hint, r.hint ?? '');
    },
  };
}

// closedScreen says why this page may not launch an app; words is words.closed().
export function closedScreen(words) {
  return el('section.panel', { role: 'status' },
    el('h1', {}, words.head),
    el('p.lead', {}, words.text),
    words.technical ? el('p.technical', {}, words.technical) : null,
    el('div.actions', {}, el('a.primary', { href: '/' }, 'See all apps')));
}

export function missingScreen(id) {
  return el('section.panel', {},
    el('h1', {}, 'No such app'),
    el('p.lead', {}, `There is no app named “${id}” here. It may have been removed, or not be registered yet.`),
    el('div.actions', {}, el('a.primary', { href: '/' }, 'See all apps')));
}
