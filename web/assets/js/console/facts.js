// facts.js: a list of names and values, kept up to date.

import { el, setText } from '../ui/dom.js';
import { keyed } from './keyed.js';

// facts gives {node, update([[name, text, href?], …])}. Facts without a text are left out.
export function facts(label) {
  const node = el('dl.facts', { 'aria-label': label });
  const show = keyed(node, ([name]) => {
    const value = el('dd');
    return { node: el('div', {}, el('dt', {}, name), value), update: ([, text, href]) => fill(value, text, href) };
  });
  return { node, update: (list) => show(list.filter(([, text]) => text !== '' && text !== undefined && text !== null), ([name]) => name) };
}

function fill(node, text, href) {
  if (!href) {
    setText(node, String(text));
    return;
  }
  const link = node.querySelector('a') ?? node.appendChild(el('a', {}));
  if (node.firstChild !== link) node.replaceChildren(link);
  if (link.getAttribute('href') !== href) link.setAttribute('href', href);
  setText(link, String(text));
}

// bar shows a part of a whole, 0 to 1, with its figure as text.
export function bar(name) {
  const meter = el('meter', { min: 0, max: 1, high: 0.85, low: 0.6, optimum: 0, 'aria-label': name });
  const text = el('span.num');
  const node = el('div.bar', {}, el('b', {}, name), meter, text);
  return { node, update(value, words) {
    meter.value = value;
    setText(text, words);
  } };
}
