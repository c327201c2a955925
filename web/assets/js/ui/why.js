// why.js: why a session is at its site: the candidates of a wire.LaunchResponse,
// the chosen one first, each with its numbers and its reason. Folded at first.

import { source } from '../later/words.js';
import { ms, place } from '../words.js';
import { el, setText } from './dom.js';

// whyDetails gives {node, update(launch)}.
export function whyDetails(w) {
  const summary = el('summary');
  const list = el('ol.why-sites', { tabIndex: 0 }); // it scrolls
  const node = el('details.why', { hidden: true }, summary, list);
  let shown = null;
  function update(launch) {
    const candidates = launch?.candidates ?? [];
    node.hidden = candidates.length === 0;
    if (node.hidden || shown === launch.session) return;
    shown = launch.session;
    setText(summary, w.say('why.summary', { site: place(launch.site, w) }));
    list.setAttribute('aria-label', summary.textContent);
    list.replaceChildren(...candidates.map((c) => row(c, c.site === launch.site, w)));
  }
  return { node, update };
}

function row(c, chosen, w) {
  const from = source(c.rtt_source, w);
  const parts = [`${ms(c.rtt_ms, w)}${c.rtt_error_ms > 0 ? ` ± ${ms(c.rtt_error_ms, w)}` : ''}${from && ` (${from})`}`];
  if (c.wait_ms > 0) parts.push(w.say('why.wait', { time: ms(c.wait_ms, w) }));
  if (c.load_ms > 0) parts.push(w.say('why.load', { time: ms(c.load_ms, w) }));
  const node = el('li', {}, el('b', {}, c.site), el('span', {}, parts.join(' + ')), el('em', {}, c.excluded || c.reason));
  node.classList.toggle('chosen', chosen);
  node.classList.toggle('excluded', Boolean(c.excluded));
  return node;
}
