// log.js: the audit log: who did what, and what came of it.

import { el } from '../ui/dom.js';
import { icon } from '../ui/icons.js';
import * as calls from './calls.js';
import { words } from './confirm.js';
import { when } from './format.js';

const ACTS = {
  login: 'logged in', logout: 'logged out', 'session.end': 'ended a session', 'session.still': 'looked at a still', 'node.drain': 'drained a node',
  'node.ineligible': 'took a node out of use', 'node.eligible': 'took a node into use', 'app.scale': 'changed warm or max', 'app.publish': 'published an app', 'app.revert': 'rolled an app back',
};

const TONES = { ok: 'good', begun: 'busy' };

export function logPage() {
  const place = el('div.scroll', { tabIndex: 0, role: 'region', 'aria-label': 'The last actions' });
  const again = el('button.quiet', { type: 'button', onclick: read }, icon('again'), 'Read again');
  const node = el('section.detail', {}, el('h1', { tabIndex: -1 }, 'Log'), el('p.lead', {}, 'The last actions of all who have logged in here. It is read when this page opens.'), el('div.actions', {}, again), place);

  async function read() {
    try {
      const { actions: all } = await calls.audit();
      // An action has a line before it begins and one after. The first is of interest only while there is no second.
      const over = new Set(all.filter(({ result }) => result !== 'begun').map(({ id }) => id));
      const actions = all.filter(({ id, result }) => result !== 'begun' || !over.has(id));
      place.replaceChildren(actions.length === 0 ? el('p.told', {}, 'Nothing was done yet.') : table(actions));
    } catch (error) {
      place.replaceChildren(el('p.hint', { role: 'alert' }, words(error)));
    }
  }
  read();
  return { node, title: 'Log', update() {}, close() {} };
}

function table(actions) {
  return el('table', {}, el('thead', {}, el('tr', {}, ['When', 'Who', 'Role', 'What', 'On', 'With', 'Result'].map((h) => el('th', { scope: 'col' }, h)))),
    el('tbody', {}, actions.map((a) => el('tr', {}, el('td', {}, when(a.time)), el('th', { scope: 'row', title: a.who }, a.name || a.who), el('td', {}, a.role ?? ''), el('td', {}, ACTS[a.act] ?? a.act),
      el('td', {}, [a.on, a.site].filter(Boolean).join(' at ')), el('td', {}, Object.entries(a.with ?? {}).map(([k, v]) => `${k} ${v}`).join(', ')),
      el('td', { 'data-tone': TONES[a.result] ?? 'bad' }, [a.result, a.why].filter(Boolean).join(': '))))));
}
