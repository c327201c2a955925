// waiting.js: between Play and the first frame: what happens now, how far it is,
// and Cancel.

import { STATIONS, waiting } from '../words.js';
import { el, setText } from '../ui/dom.js';

// why is a whyDetails of ui/why.js; explain brings one that comes later.
export function waitingScreen({ leave, why, w: words }) {
  const title = el('p.over', { part: 'app' });
  const head = el('h1', { part: 'title' });
  const text = el('p.lead', { part: 'text' });
  const rail = el('div.rail', { role: 'progressbar', 'aria-label': words.say('progress'), 'aria-valuemin': '0', 'aria-valuemax': '100' }, el('span'));
  const stations = STATIONS.map((s) => el('li', {}, el('i'), el('span', {}, words.say(`station.${s.phase}`))));
  const list = el('ol.stations', { 'aria-hidden': 'true' }, stations);
  const cancel = el('button.quiet', { type: 'button', onclick: leave, part: 'button cancel' }, words.say('cancel'));
  const told = el('div', { 'aria-live': 'polite' }, head, text);
  const node = el('section.panel.waiting', { tabIndex: -1, part: 'panel' }, title, told, el('div.progress', {}, rail, list), el('div.actions', {}, cancel), why?.node);
  return {
    node,
    explain(details, { launch }) {
      why = details;
      why.update(launch);
      node.append(why.node);
    },
    // Not Cancel: a second Enter on Play must not cancel.
    focus: () => node.focus({ preventScroll: true }),
    update(state, app) {
      const w = waiting(state, words);
      setText(title, app?.title || state.app);
      setText(head, w.head);
      setText(text, w.text);
      node.dataset.phase = state.phase;
      why?.update(state.launch);
      const known = w.fraction >= 0;
      rail.classList.toggle('unknown', !known);
      rail.style.setProperty('--done', known ? `${stationPlace(w) * 100}%` : '0%');
      if (known) rail.setAttribute('aria-valuenow', Math.round(w.fraction * 100));
      else rail.removeAttribute('aria-valuenow');
      rail.setAttribute('aria-valuetext', [w.head, w.text].filter(Boolean).join(', '));
      list.hidden = w.station < 0;
      stations.forEach((li, i) => {
        li.className = i < w.station ? 'done' : i === w.station ? 'now' : '';
      });
      cancel.hidden = state.phase === 'leaving';
    },
  };
}

// stationPlace is the position on the line, 0..1. The steps stand at even
// distances, so this is not the fraction of the time.
function stationPlace(w) {
  const gap = 1 / (STATIONS.length - 1);
  const within = w.within > 0 ? w.within : 0;
  return Math.min(1, (w.station + within) * gap);
}
