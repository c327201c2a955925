// sites.js: the first page: all sites on a map, with the round trips between them, and what each has room for.

import { el, setText } from '../ui/dom.js';
import { many, millis, number } from './format.js';
import { keyed } from './keyed.js';
import { links, worldMap } from './map.js';
import { write } from './route.js';

const MOST_APPS = 5; // of a card; the list of apps has all

export function sitesPage({ model }) {
  const count = el('p.count');
  const map = worldMap({ href: (site) => write('sessions', '', { site: site.site }) });
  const cards = el('ul.cards');
  const table = el('div.scroll', { tabIndex: 0, role: 'region', 'aria-label': 'Round trips between sites' });
  const between = el('section.panel', {}, el('h2', {}, 'Round trips'), table, el('p.told', {}, '~ is predicted from Consul\'s coordinates; all others were measured by routers.'));
  const node = el('section.sites', {}, el('div.list-head', {}, el('h1', { tabIndex: -1 }, 'Sites'), count), map.node, cards, between);
  const show = keyed(cards, card);
  let drawn = '';

  function update() {
    const sites = [...model.sites.values()].sort((a, b) => a.site.localeCompare(b.site));
    const sum = (of) => sites.reduce((n, s) => n + (of(s) || 0), 0);
    setText(count, `${many(sites.length, 'site')} · ${many(sum((s) => s.sessions), 'session')} · ${number(sum((s) => s.waiting))} waiting`);
    map.update(sites);
    const apps = new Map();
    for (const app of model.apps.values()) (apps.get(app.site) ?? apps.set(app.site, []).get(app.site)).push(app);
    const nodes = new Map();
    for (const n of model.nodes.values()) (nodes.get(n.site) ?? nodes.set(n.site, []).get(n.site)).push(n);
    show(sites.map((site) => ({ site, apps: apps.get(site.site) ?? [], nodes: nodes.get(site.site) ?? [] })), ({ site }) => site.site);
    between.hidden = sites.length < 2;
    matrix(sites);
  }

  function matrix(sites) {
    const found = new Map(links(sites).map((l) => [`${l.from} ${l.to}`, l]));
    const text = (a, b) => {
      const l = found.get([a, b].sort().join(' '));
      return a === b ? '' : l ? `${l.measured ? '' : '~ '}${millis(l.rtt)}` : '–';
    };
    const names = sites.map((s) => s.site);
    const rows = names.map((a) => names.map((b) => text(a, b)));
    const state = JSON.stringify([names, rows]);
    if (state === drawn) return;
    drawn = state;
    table.replaceChildren(el('table.matrix', {}, el('thead', {}, el('tr', {}, el('td'), names.map((n) => el('th', { scope: 'col' }, n)))),
      el('tbody', {}, rows.map((cells, i) => el('tr', {}, el('th', { scope: 'row' }, names[i]), cells.map((c) => el('td.num', {}, c)))))));
  }

  return { node, title: 'Sites', update, close: map.close };
}

// card is one site: its state, its people, and the room, queue and version of each app.
function card({ site: { site } }) {
  const name = el('h2', {}, site);
  const place = el('p.place');
  const chip = el('span.chip', {}, el('i'), el('span'));
  const sessions = el('a', { href: write('sessions', '', { site }) });
  const waiting = el('a', { href: write('sessions', '', { site, state: 'waiting' }) });
  const nodes = el('a', { href: write('nodes', '', { site }) });
  const trouble = el('ul.trouble');
  const apps = el('ul.app-rows');
  const more = el('a', { href: write('apps', '', { site }) });
  const showTrouble = keyed(trouble, (text) => ({ node: el('li.hint', {}, text), update() {} }));
  const showApps = keyed(apps, appRow);
  const node = el('li.site-card', {}, el('div.card-head', {}, name, chip), place, el('p.counts', {}, sessions, waiting, nodes), trouble, apps, more);
  return { node, update({ site: s, apps: all, nodes: its }) {
    chip.dataset.kind = s.healthy ? 'ready' : 'failing';
    setText(chip.lastChild, s.healthy ? 'in service' : 'out of service');
    setText(place, [s.place, s.own ? 'this console\'s' : '', ...(s.residency ?? []), ...(s.gpu ?? [])].filter(Boolean).join(' · '));
    setText(sessions, many(s.sessions, 'session'));
    setText(waiting, `${number(s.waiting)} waiting`);
    const away = its.filter((n) => n.draining || !n.eligible || n.status !== 'ready').length;
    setText(nodes, `${many(its.length, 'node')}${away > 0 ? `, ${away} out of use` : ''}`);
    showTrouble([...(s.healthy ? [] : [s.unhealthy || 'It does not answer.']), ...(s.unread ?? [])], (text) => text);
    const sorted = all.sort((a, b) => b.capacity.queued - a.capacity.queued || b.capacity.busy - a.capacity.busy || a.app.localeCompare(b.app));
    showApps(sorted.slice(0, MOST_APPS), (a) => a.app);
    more.hidden = sorted.length === 0;
    setText(more, sorted.length > MOST_APPS ? `All ${sorted.length} apps` : 'Apps');
  } };
}

function appRow({ site, app }) {
  const link = el('a', { href: write('apps', `${site}/${app}`) });
  const room = el('span');
  return { node: el('li', {}, link, room), update(a) {
    setText(link, `${a.app} v${a.version}`);
    room.dataset.tone = a.capacity.failing ? 'bad' : a.capacity.queued > 0 ? 'busy' : '';
    setText(room, roomOf(a));
  } };
}

// roomOf says in words how much room an app has at a site.
export function roomOf({ capacity: c }) {
  if (c.failing) return 'does not start';
  const free = Math.max(0, c.max - c.busy);
  const parts = [free > 0 ? `room for ${number(free)}, ${number(c.idle)} ready` : 'full'];
  if (c.queued > 0) parts.push(`${number(c.queued)} waiting`);
  return parts.join(', ');
}
