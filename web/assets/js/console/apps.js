// apps.js: the list of apps at all sites, and how an operator publishes one.

import { el } from '../ui/dom.js';
import * as calls from './calls.js';
import { ask } from './confirm.js';
import { NONE, number, since } from './format.js';
import { listPage } from './lists.js';

export function appsPage(ctx) {
  const { model, can, me } = ctx;
  const c = (id, name) => ({ id, name, num: true, down: true, text: (a) => number(a.capacity[id]), value: (a) => a.capacity[id] });
  const publish = can('app.publish') ? el('button.quiet', { type: 'button', onclick: () => askPublish(model, me.site) }, 'Publish an app') : null;
  return listPage(ctx, {
    kind: 'apps', heading: 'Apps', one: 'app at a site', sort: 'queued', down: true, extra: publish,
    columns: [
      { id: 'app', name: 'App', text: (a) => a.app, value: (a) => a.app },
      { id: 'title', name: 'Title', text: (a) => a.title || NONE, value: (a) => a.title },
      { id: 'site', name: 'Site', text: (a) => a.site, value: (a) => a.site },
      { id: 'version', name: 'Version', num: true, text: (a) => a.version, value: (a) => a.version },
      c('idle', 'Idle'), c('busy', 'Busy'), c('starting', 'Starting'), c('warm', 'Warm'), c('max', 'Max'),
      { ...c('queued', 'Waiting'), tone: (a) => (a.capacity.queued > 0 ? 'busy' : '') },
      { id: 'state', name: 'State', text: stateOf, value: stateOf, tone: (a) => ({ ready: 'good', failing: 'bad', full: 'busy' })[stateOf(a)] ?? '' },
      { id: 'failed', name: 'Failed', num: true, text: (a) => (a.failed_at ? since(a.failed_at, ctx.now()) : NONE), value: (a) => -Date.parse(a.failed_at) },
    ],
    filters: [
      { id: 'site', label: 'Site', of: (a) => a.site },
      { id: 'app', label: 'App', of: (a) => a.app },
      { id: 'state', label: 'State', of: stateOf },
    ],
    find: (a) => `${a.app} ${a.title} ${a.site} ${a.pool ?? ''}`,
  });
}

export function stateOf({ capacity: c }) {
  if (c.failing) return 'failing';
  if (c.idle > 0) return 'ready';
  return c.busy + c.starting >= c.max ? 'full' : 'starts with demand';
}

// askPublish registers a version of an app at a site, after a check.
export function askPublish(model, site, app = '') {
  const sites = [...model.sites.keys()].sort();
  let checked = ''; // what was found to be good
  const dialog = ask({
    title: app ? `Publish a version of ${app}` : 'Publish an app', go: 'Check', wide: true, done: 'It is published.',
    text: 'Nearcast checks the job first, and changes nothing. People who play keep their seats; new people get the new version as soon as seats of it are ready.',
    fields: [
      { id: 'site', label: 'Site', options: sites.map((s) => [s, s]), value: site },
      { id: 'job', label: 'Job file (HCL or JSON)', type: 'area', required: true, hint: 'Paste the text of the file.' },
      { id: 'variables', label: 'Variables', type: 'area', hint: 'NAME=VALUE, one a row, if the file has variables.' },
    ],
    async act({ site: at, job, variables }, { says }) {
      const body = { job, variables: variablesOf(variables) };
      const submit = dialog.querySelector('[type=submit]');
      const all = JSON.stringify([at, body]);
      if (checked === all) {
        const done = await calls.publish(at, body);
        refuse(done);
        return `${done.app} has version ${done.version} at ${at}.`;
      }
      const found = await calls.publish(at, { ...body, dry_run: true });
      refuse(found);
      checked = all;
      submit.textContent = 'Publish';
      says.textContent = `The job is good. ${found.app} would have version ${found.version} at ${at}.${found.warnings ? ` Nomad warns: ${found.warnings}` : ''} Press Publish to register it.`;
      return false;
    },
  });
  dialog.addEventListener('input', () => {
    checked = '';
    dialog.querySelector('[type=submit]').textContent = 'Check';
  });
}

// refuse throws what is wrong with a job.
export function refuse({ problems, warnings }) {
  if (problems?.length > 0) throw new Error(`${problems.join('. ')}${warnings ? `. Nomad warns: ${warnings}` : ''}`);
}

// variablesOf reads rows of NAME=VALUE.
export function variablesOf(text) {
  const rows = text.split('\n').map((row) => row.trim()).filter(Boolean);
  return Object.fromEntries(rows.map((row) => {
    const at = row.indexOf('=');
    if (at < 1) throw new Error(`"${row}" is no variable: write NAME=VALUE`);
    return [row.slice(0, at).trim(), row.slice(at + 1).trim()];
  }));
}
