// home.js: the entry point of index.html: the list of apps, kept up to date.

import { listApps } from './api.js';
import { heldApps, withHeld } from './held.js';
import { availability, heldWords } from './words.js';
import { el, setText } from './ui/dom.js';
import { icon } from './ui/icons.js';
import { wordmark } from './ui/logo.js';
import { picture } from './ui/picture.js';

const REFRESH_MS = 4000;

const list = document.querySelector('#apps');
const note = document.querySelector('#note');
const count = document.querySelector('#count');
const heading = document.querySelector('#heading');
document.querySelector('#brand').replaceWith(wordmark());

const cards = new Map(); // id → {node, update}
let shown = ''; // which note is shown, so that it is not made again and again

function card(app) {
  const chip = el('span.chip', {}, el('i'), el('span'));
  const where = el('span.where');
  const title = el('h2', {}, app.title || app.id);
  const text = el('p.description');
  const hint = el('p.hint', { hidden: true });
  let art = picture(app);
  let drawn = app.picture;
  const link = el('a.card', { href: `/play/${encodeURIComponent(app.id)}` },
    art, el('div.card-body', {}, el('div.card-head', {}, title, el('span.card-go', {}, icon('play'))), text, hint, el('div.card-foot', {}, chip, where)));
  const node = el('li', {}, link);
  function update(now) {
    setText(title, now.title || now.id);
    setText(text, now.description || '');
    if (now.picture !== drawn) {
      drawn = now.picture;
      const fresh = picture(now);
      art.replaceWith(fresh);
      art = fresh;
    }
    const held = heldApps().has(now.id);
    const r = held ? heldWords() : availability(now.sites);
    link.href = `/play/${encodeURIComponent(now.id)}${held ? '#resume' : ''}`;
    chip.dataset.kind = r.kind;
    setText(chip.lastChild, r.label);
    setText(where, r.where ? `at ${r.where}` : '');
    hint.hidden = !r.hint;
    setText(hint, r.hint ?? '');
  }
  update(app);
  return { node, update };
}

function showNote(kind, make) {
  setText(heading, kind === 'empty' ? 'Nothing to play yet.' : kind.startsWith('bad') ? 'Not available at the moment.' : cards.size === 1 ? 'It runs near you.' : 'Pick one.\nIt runs near you.');
  if (shown === kind) return;
  shown = kind;
  note.replaceChildren(...(kind ? [make()] : []));
}

const empty = () => el('section.notice', {},
  el('h2', {}, 'No app is registered yet'),
  el('p', {}, 'An app is a Nomad job whose task uses the stream driver. Register one from a shell that reaches Nomad:'),
  el('pre', {}, el('code', {}, 'nomad job run app.nomad.hcl')),
  el('p', {}, 'It appears here within seconds. Apps that need a launch token are not listed.'));

const broken = (problem) => () => el('section.notice.bad', { role: 'alert' },
  el('h2', {}, problem.title),
  el('p', {}, problem.detail || ''),
  el('p', {}, 'This page tries again every few seconds.'));

async function refresh() {
  try {
    const { apps, stale } = await listApps();
    show(withHeld(apps ?? []));
    if (stale) showNote('stale', () => el('p.ribbon', { role: 'status' }, icon('alert'), 'The registry does not answer. This is the last known list.'));
    else if (cards.size === 0) showNote('empty', empty);
    else showNote('');
  } catch (error) {
    const problem = error.problem ?? { title: 'The list cannot be shown', detail: error.message };
    if (cards.size === 0) {
      list.classList.remove('loading');
      list.replaceChildren();
      showNote(`bad ${problem.title}`, broken(problem));
    } else {
      showNote('lost', () => el('p.ribbon', { role: 'status' }, icon('alert'), `${problem.title}. This list may be out of date.`));
    }
  }
  document.documentElement.dataset.loaded = 'true';
}

function show(apps) {
  if (list.classList.contains('loading')) {
    list.classList.remove('loading');
    list.replaceChildren();
  }
  apps.sort((a, b) => (a.title || a.id).localeCompare(b.title || b.id));
  const ids = new Set(apps.map((app) => app.id));
  for (const [id, { node }] of cards) {
    if (!ids.has(id)) { node.remove(); cards.delete(id); }
  }
  apps.forEach((app, i) => {
    let c = cards.get(app.id);
    if (c) c.update(app);
    else cards.set(app.id, c = card(app));
    if (list.children[i] !== c.node) list.insertBefore(c.node, list.children[i] ?? null);
  });
  setText(count, apps.length === 0 ? '' : apps.length === 1 ? '1 app' : `${apps.length} apps`);
}

// A tab in the background sends no requests.
async function keepFresh() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((resolve) => {
      const timer = setTimeout(done, REFRESH_MS);
      document.addEventListener('visibilitychange', done);
      function done() {
        clearTimeout(timer);
        document.removeEventListener('visibilitychange', done);
        resolve();
      }
    });
  }
}
keepFresh();
