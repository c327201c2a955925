// ready.js: an app before Play: what it is, how far it is, and the button.

import { availability } from '../words.js';
import { el, setText } from '../ui/dom.js';
import { icon } from '../ui/icons.js';

export function readyScreen({ play, resting, distance, w }) {
  const title = el('h1', { part: 'title' });
  const text = el('p.lead', { part: 'text' });
  let asked = false; // the page itself puts the focus on Play
  const rest = () => { if (!asked) resting.rest(); };
  const unrest = () => resting.unrest();
  const button = el('button.primary.play-button', {
    type: 'button', onclick: play, onpointerenter: rest, onpointermove: rest, onpointerdown: rest, onpointerleave: unrest, onfocus: rest, onblur: unrest, part: 'button play',
  }, icon('play'), el('span', {}, w.say('play')));
  const chip = el('span.chip', {}, el('i'), el('span'));
  const notice = el('p.ribbon', { role: 'status', hidden: true });
  const hint = el('p.hint', { hidden: true });
  // Play comes last, at the panel's foot, so that it stays where it is while the rest is learned.
  const node = el('section.panel.ready', { part: 'panel' }, notice, title, text, distance, hint,
    el('div.actions', {}, button, chip));
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
      notice.hidden = !state.notice; // a key of the words
      setText(notice, state.notice && w.say(state.notice));
      const r = app ? availability(app.sites, w) : null;
      chip.hidden = !r;
      hint.hidden = !r?.hint;
      if (!r) return;
      chip.dataset.kind = r.kind;
      setText(chip.lastChild, r.label);
      setText(hint, r.hint ?? '');
    },
  };
}
