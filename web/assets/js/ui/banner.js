// banner.js: a message over the picture, for a while, about something that the
// person did not do.

import { el, setText } from './dom.js';
import { icon } from './icons.js';

const SHOWN_MS = 15_000;

// banner gives {node, show(text, detail, for how long in ms), hide()}.
export function banner(w) {
  const text = el('b');
  const detail = el('small');
  const close = el('button.tool', { type: 'button', 'aria-label': w.say('close'), title: w.say('close'), onclick: () => hide() }, icon('close'));
  const node = el('div.banner', { part: 'banner', role: 'status', hidden: true }, icon('move'), el('p', {}, text, detail), close);
  let timer;
  function hide() {
    clearTimeout(timer);
    node.hidden = true;
  }
  function show(what, more = '', shown = SHOWN_MS) {
    clearTimeout(timer);
    setText(text, what);
    setText(detail, more);
    detail.hidden = !more;
    node.hidden = false;
    timer = setTimeout(hide, shown);
  }
  return { node, show, hide };
}
