// helpview.js: the overlay that says what is possible. While it is open it has the
// keyboard; the app goes on behind it.

import { el } from '../ui/dom.js';
import { icon } from '../ui/icons.js';

// helpView gives {node, toggle(sections), close()}. onClose is called however it closes.
export function helpView({ onClose, w }) {
  const body = el('div.help-body');
  const close = el('button.tool', { type: 'button', 'aria-label': w.say('close'), title: w.say('close'), onclick: () => node.close() }, icon('close'));
  const node = el('dialog.help', { 'aria-labelledby': 'help-title', onclose: () => onClose() },
    el('div.help-head', {}, el('h2', { id: 'help-title' }, w.say('help.title')), close), body);
  // A click beside it closes it. In full screen the browser keeps Escape for the page.
  node.addEventListener('click', (e) => { if (e.target === node) node.close(); });
  node.addEventListener('keydown', (e) => {
    const again = e.code === 'KeyH' && e.ctrlKey && e.altKey && e.shiftKey;
    if (e.key !== 'Escape' && !again) return;
    e.preventDefault();
    node.close();
  });
  return {
    node,
    close() { if (node.open) node.close(); },
    toggle(sections) {
      if (node.open) return void node.close();
      body.replaceChildren(...sections.map(({ title, rows }) => el('section', {}, el('h3', {}, title), el('ul', {}, rows.map(line)))));
      node.showModal();
    },
  };
}

function line({ keys, text }) {
  const shown = keys.flatMap((key, i) => [i > 0 ? '+' : null, el('kbd', {}, key)]);
  return el('li', {}, keys.length > 0 ? el('span.keys', {}, shown) : null, el('span', {}, text));
}
