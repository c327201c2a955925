// confirm.js: the question before an action: what will happen, what can be chosen, and what came of it.
//
//	ask({ title: 'End this session?', text: '…', go: 'End session', act: () => calls.end(id), done: 'The session ends.' })
//
// act gets the values of the fields. A string that it gives is what came of it, in place of done; with false the dialog
// stays, as it does with an error, which it shows.

import { el, setText } from '../ui/dom.js';

let region;

// tell says what came of something, for eyes and screen readers.
export function tell(text) {
  region ??= document.body.appendChild(el('p.toast', { role: 'status' }));
  setText(region, text);
  region.classList.add('shown');
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => region.classList.remove('shown'), 8000);
}

export function ask({ title, text, fields = [], go, grave = false, act, done, wide = false }) {
  const inputs = new Map(fields.map((f) => [f.id, field(f)]));
  const trouble = el('p.hint', { role: 'alert' });
  const says = el('p.lead', {}, text);
  const submit = el(grave ? 'button.primary.grave' : 'button.primary', { type: 'submit' }, go);
  const cancel = el('button.quiet', { type: 'button', autofocus: grave, onclick: () => dialog.close() }, 'Cancel');
  const head = el('h2', { id: 'ask-title' }, title);
  const dialog = el(wide ? 'dialog.ask.wide' : 'dialog.ask', { 'aria-labelledby': 'ask-title', onclose: () => dialog.remove() },
    el('form', { method: 'dialog', onsubmit: run }, head, says, ...[...inputs.values()].map(({ node }) => node), trouble, el('div.actions', {}, submit, cancel)));

  async function run(event) {
    event.preventDefault();
    if (submit.disabled) return;
    submit.disabled = true;
    dialog.setAttribute('aria-busy', 'true');
    setText(trouble, '');
    try {
      const came = await act(Object.fromEntries([...inputs].map(([id, { value }]) => [id, value()])), { says });
      if (came !== false) {
        dialog.close();
        tell(typeof came === 'string' ? came : done);
      }
    } catch (error) {
      setText(trouble, words(error));
    }
    submit.disabled = false;
    dialog.removeAttribute('aria-busy');
  }

  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

// words says an error as a person reads it.
export function words(error) {
  const { title, detail } = error.problem ?? { title: error.message };
  if (!detail || detail === title) return `${title}.`.replace(/\.\.$/, '.');
  return `${title}. ${detail}`;
}

// field makes an input with its label: {node, value()}.
function field({ id, label, hint, type = 'text', value = '', options, min, max, required }) {
  const name = `ask-${id}`;
  let input;
  if (options) input = el('select', { id: name }, options.map(([v, text]) => el('option', { value: v, selected: String(v) === String(value) }, text)));
  else if (type === 'area') input = el('textarea', { id: name, rows: 10, spellcheck: false, value, required });
  else input = el('input', { id: name, type, value, min: min === undefined ? undefined : String(min), max: max === undefined ? undefined : String(max), required });
  if (hint) input.setAttribute('aria-describedby', `${name}-hint`);
  const node = el('div.field', {}, el('label', { for: name }, label), input, hint ? el('p.told', { id: `${name}-hint` }, hint) : null);
  return { node, value: () => input.value };
}
