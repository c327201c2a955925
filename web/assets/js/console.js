// console.js: the entry point of console.html: what operators see of all sites, and do.
//
// A page is {node, title, update(), close()}. The address says which one is shown (console/route.js).
// What it shows comes from one stream of events; nothing is asked again and again.

import './later/en.js'; // names of places
import { appPage } from './console/app.js';
import { appsPage } from './console/apps.js';
import * as calls from './console/calls.js';
import { tell, words } from './console/confirm.js';
import { follow } from './console/events.js';
import { logPage } from './console/log.js';
import { Model } from './console/model.js';
import { nodePage, nodesPage } from './console/nodes.js';
import { read } from './console/route.js';
import { sessionPage } from './console/session.js';
import { sessionsPage } from './console/sessions.js';
import { sitesPage } from './console/sites.js';
import { el, setText } from './ui/dom.js';
import { wordmark } from './ui/logo.js';

const DRAW_MS = 250; // at most so often while events come in a row

const LISTS = { sites: sitesPage, apps: appsPage, nodes: nodesPage, sessions: sessionsPage, log: logPage };
const ONES = { apps: appPage, nodes: nodePage, sessions: sessionPage };
const NAMES = { sites: 'Sites', apps: 'Apps', nodes: 'Nodes', sessions: 'Sessions', log: 'Log' };
const STATES = {
  connecting: ['cold', 'Connecting'],
  live: ['ready', 'Live'],
  lost: ['failing', 'Connection lost. What is shown is old. Trying again'],
  login: ['failing', 'You have to log in again'],
};

document.querySelector('#brand').replaceWith(wordmark('/console'));
const main = document.querySelector('#console');
const model = new Model();
const links = Object.entries(NAMES).map(([page, name]) => el('a', { href: `#${page}`, 'data-page': page, hidden: page === 'log' }, name));
const chip = el('span.chip.line', { role: 'status', 'data-kind': 'cold' }, el('i'), el('span', {}, 'Connecting'));
const who = el('p.who');
const out = el('button.link', { type: 'button', onclick: logout }, 'Log out');
document.querySelector('.masthead').append(el('nav', { 'aria-label': 'Console' }, links), el('div.me', {}, chip, who, out));

let me = null;
let page = null;
let shown = '';
let skew = 0; // of this computer's clock to the service's

const ctx = { model, can: (act) => me.actions.includes(act), now: () => Date.now() - skew };

function show(first = false) {
  const route = read(location.hash);
  shown = `${route.page}/${route.key}`;
  page?.close();
  document.querySelector('dialog.ask')?.close(); // its question was of the page before
  page = (route.key && ONES[route.page] ? ONES[route.page] : LISTS[route.page])({ ...ctx, me, route });
  main.replaceChildren(page.node);
  main.dataset.page = route.page;
  for (const link of links) {
    if (link.dataset.page === route.page) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${page.title} · Nearcast console`;
  page.update();
  if (!first) {
    page.node.querySelector('h1').focus({ preventScroll: true });
    window.scrollTo({ top: 0 });
  }
}

// Draws come with the next frame, and not all the time: events may come in a row.
let waits = false;
let drawn = -Infinity;
function draw() {
  if (waits) return;
  waits = true;
  setTimeout(() => requestAnimationFrame(() => {
    waits = false;
    drawn = performance.now();
    page?.update();
    main.setAttribute('aria-busy', String(!model.complete));
  }), Math.max(0, drawn + DRAW_MS - performance.now()));
}

function line(state, problem) {
  const [kind, text] = STATES[state];
  if (chip.dataset.state === state) return;
  chip.dataset.state = state;
  chip.dataset.kind = kind;
  setText(chip.lastChild, text);
  chip.title = problem ? words({ problem }) : '';
  document.body.classList.toggle('stale', state === 'lost' || state === 'login');
  if (state === 'login') calls.login();
}

async function logout() {
  try {
    await calls.logout();
    location.assign('/console/logout'); // not to the login: a provider would log them in again at once
  } catch (error) {
    tell(`You are not logged out. ${words(error)}`);
  }
}

async function begin() {
  try {
    me = await calls.me();
  } catch (error) {
    if (error.problem?.status === 401) return; // the page goes to the login
    main.replaceChildren(el('section.notice.bad', { role: 'alert' }, el('h1', {}, error.problem?.title ?? 'The console does not work'), el('p', {}, error.problem?.detail ?? error.message),
      el('button.quiet', { type: 'button', onclick: () => { main.replaceChildren(); begin(); } }, 'Try again')));
    return;
  }
  setText(who, `${me.name}, ${me.role}`);
  links.find(({ dataset }) => dataset.page === 'log').hidden = me.role === 'viewer';
  const before = calls.whereBefore();
  if (before && !location.hash) history.replaceState(null, '', before);
  show(true);
  window.addEventListener('hashchange', () => show());
  follow(calls.EVENTS, {
    onState: line,
    onEvent(name, event) {
      const changed = model.apply(name, event);
      if (model.time) skew = Date.now() - model.time;
      if (changed.size > 0 || name === 'snapshot') draw();
    },
  });
}

// For tests: what is known, and which page is shown.
window.nearcastConsole = { model, get page() { return shown; } };
begin();
