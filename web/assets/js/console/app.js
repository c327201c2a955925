// app.js: the page of an app at a site: its room, its versions, and what can be changed.

import { el, setText } from '../ui/dom.js';
import { icon } from '../ui/icons.js';
import { askPublish, refuse, stateOf } from './apps.js';
import * as calls from './calls.js';
import { ask, words } from './confirm.js';
import { facts } from './facts.js';
import { number, since, span, when } from './format.js';
import { write } from './route.js';

export function appPage({ model, can, now, route: { key } }) {
  const [site, app] = [key.split('/')[0], key.split('/').slice(1).join('/')];
  const gone = el('p.ribbon', { role: 'status', hidden: true }, icon('alert'), 'This app is not registered at this site any more, or the site cannot be read.');
  const failure = el('p.hint', { hidden: true });
  const is = facts('The app');
  const room = facts('Its room');
  const versions = el('div', {}, el('p.told', {}, 'Loading …'));
  const button = (act, text, onclick) => el('button.quiet', { type: 'button', hidden: !can(act), onclick }, text);
  const buttons = el('div.actions', {}, el('a.quiet', { href: write('sessions', '', { site, app }) }, 'Sessions'),
    button('app.scale', 'Change warm and max', askScale), button('app.publish', 'Publish a version', () => askPublish(model, site, app)));
  const node = el('section.detail', {}, el('p.crumb', {}, el('a', { href: '#apps' }, 'Apps')), el('h1', { tabIndex: -1 }, `${app} at ${site}`), gone, failure, buttons,
    el('div.columns', {}, el('section.panel', {}, el('h2', {}, 'Room'), room.node), el('section.panel', {}, el('h2', {}, 'App'), is.node)),
    el('section.panel', {}, el('h2', {}, 'Versions'), versions));
  let last = null;
  let asked = NaN; // the version whose list is shown
  let found = [];

  function update() {
    const a = model.apps.get(key);
    gone.hidden = Boolean(a) || !model.complete;
    if (a) last = a;
    if (!last) return;
    const c = last.capacity;
    failure.hidden = !last.failure && !c.failing;
    setText(failure, last.failure ? `A seat failed${last.failed_at ? ` ${since(last.failed_at, now())} ago` : ''}: ${last.failure}` : c.failing ?? '');
    room.update([['State', stateOf(last)], ['Idle', number(c.idle)], ['Busy', number(c.busy)], ['Starting', number(c.starting)], ['Waiting', number(c.queued)], ['Warm', number(c.warm)], ['Max', number(c.max)]]);
    is.update([['Title', last.title], ['Version', last.version], ['Access', last.access], ['Node pool', last.pool],
      ['Starts in', c.cold_start_ms ? `${(c.cold_start_ms / 1000).toFixed(1)} s` : ''], ['A session lasts', c.session_ms ? span(c.session_ms) : '']]);
    if (last.version !== asked) {
      asked = last.version;
      read();
    }
  }

  // The versions are read when the page comes and when there is a new one.
  async function read() {
    try {
      ({ versions: found } = await calls.app(site, app));
      versions.replaceChildren(table());
    } catch (error) {
      versions.replaceChildren(el('p.hint', { role: 'alert' }, words(error)));
    }
  }

  function table() {
    const heads = ['Version', 'Registered', 'Title', 'Warm', 'Max', 'Changes', ...(can('app.revert') ? ['Roll back'] : [])];
    return el('div.scroll', { tabIndex: 0, role: 'region', 'aria-label': 'Versions' }, el('table', {}, el('thead', {}, el('tr', {}, heads.map((h) => el('th', { scope: 'col' }, h)))),
      el('tbody', {}, found.map((v) => el(v.version === last.version ? 'tr.chosen' : 'tr', {}, el('th', { scope: 'row' }, v.version === last.version ? `${v.version}, now` : v.version),
        el('td', {}, when(v.submitted)), el('td', {}, v.title), el('td.num', {}, v.warm ?? ''), el('td.num', {}, v.max ?? ''), el('td', {}, (v.changes ?? []).join(', ')),
        can('app.revert') ? el('td', {}, v.version === last.version ? '' : el('button.link', { type: 'button', 'aria-label': `Roll back to version ${v.version}`, onclick: () => askRevert(v) }, 'Roll back')) : null)))));
  }

  function askScale() {
    const seen = last;
    const { warm, max } = seen.capacity;
    const written = found.find((v) => v.version === seen.version)?.warm;
    ask({
      title: `Change warm and max of ${app} at ${site}`, go: 'Change',
      text: `This registers a new version of the job. Idle seats are replaced; people who play keep theirs, also where there are more than the new max.${written === 'auto' ? ' Warm is "auto" now: a number ends that.' : ''}`,
      fields: [
        { id: 'warm', label: 'Warm: idle seats that are kept ready', type: 'number', min: 0, value: written === 'auto' ? '' : warm, hint: written === 'auto' ? 'Empty: it stays "auto".' : 'Empty: it stays.' },
        { id: 'max', label: 'Max: seats in all', type: 'number', min: 0, value: max, hint: 'Empty: it stays.' },
      ],
      async act(values) {
        const body = { version: seen.version };
        for (const id of ['warm', 'max']) if (values[id] !== '' && Number(values[id]) !== (id === 'warm' && written === 'auto' ? NaN : seen.capacity[id])) body[id] = Number(values[id]);
        if (body.warm === undefined && body.max === undefined) throw new Error('Nothing would change');
        const done = await calls.scale(site, app, body);
        refuse(done);
        return `${app} at ${site} has version ${done.version}.`;
      },
    });
  }

  function askRevert(v) {
    const seen = last;
    ask({
      title: `Roll ${app} back to version ${v.version}?`, go: `Roll back to ${v.version}`, grave: true,
      text: `Version ${v.version} of ${when(v.submitted)} is registered again at ${site}, as a new version. People who play keep their seats of version ${seen.version}; idle seats are replaced, and new people get the old version.`,
      async act() {
        const done = await calls.revert(site, app, { to: v.version, version: seen.version });
        refuse(done);
        return `${app} at ${site} has version ${done.version}, which is as ${v.version} was.`;
      },
    });
  }

  return { node, title: `${app} at ${site}`, update, close() {} };
}
