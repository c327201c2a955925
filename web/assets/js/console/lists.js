// lists.js: a page that is a list of items of the model: a grid with filters and a count.

import { el, setText } from '../ui/dom.js';
import { many, number } from './format.js';
import { Grid } from './grid.js';
import { keyOf } from './model.js';
import { write } from './route.js';

const CHOICES_MS = 2000; // of many items, the choices are made at most so often
const FEW = 1000;

const left = new Map(); // by kind: how a list was left, so that one comes back to the same

// listPage gives a page, as console.js has them. kind is the model's. filters are {id, label, of(item)}: the values to choose from are
// those that items have. find(item) is the text in which words are looked for.
export function listPage(ctx, { kind, heading, one, columns, sort, down, filters, find, lead = '', extra = null }) {
  const { model, route } = ctx;
  const key = (item) => keyOf(kind, item);
  const query = { ...route.query };
  const count = el('p.count');
  const order = el('p.told.order', { hidden: true }, 'The order stands still while you point at the list.');
  const search = el('input', { type: 'search', id: 'find', value: query.q ?? '', placeholder: 'Any words', oninput: () => { query.q = search.value.trim(); again(); } });
  const selects = filters.map((f) => ({ ...f, select: el('select', { id: `filter-${f.id}`, onchange: ({ target }) => { query[f.id] = target.value; again(); } }), known: '' }));
  const sorts = el('select', { id: 'sort', onchange: () => grid.sortBy(sorts.value, columns.find((c) => c.id === sorts.value).down ?? false) },
    columns.map((c) => el('option', { value: c.id }, c.name)));
  const turn = el('button.quiet', { type: 'button', onclick: () => grid.sortBy(grid.sort.id) });
  const grid = new Grid({ label: heading, columns, key, href: (item) => write(kind, key(item)), sort, down, onSort: tellSort });
  const node = el('section.list', {}, el('div.list-head', {}, el('h1', { tabIndex: -1 }, heading), count, extra), lead ? el('p.lead', {}, lead) : null,
    el('form.filters', { role: 'search', onsubmit: (event) => event.preventDefault() },
      el('div.field', {}, el('label', { for: 'find' }, 'Find'), search),
      selects.map(({ id, label, select }) => el('div.field', {}, el('label', { for: `filter-${id}` }, label), select)),
      el('div.field.sorting', {}, el('label', { for: 'sort' }, 'Order'), el('div.pair', {}, sorts, turn))),
    grid.node, order);
  const before = left.get(kind);
  if (before) grid.sortBy(before.sort.id, before.sort.down);
  tellSort();
  let chosen = -Infinity; // when the choices of the filters were made
  let later = 0;
  let top = before?.hash === location.hash ? before.top : 0;

  function tellSort() {
    const now = grid.sort;
    sorts.value = now.id;
    setText(turn, now.down ? 'Largest first' : 'Smallest first');
  }

  function again() {
    history.replaceState(null, '', write(kind, '', query));
    grid.node.scrollTop = 0;
    update();
  }

  function choices(items) {
    chosen = performance.now();
    clearTimeout(later);
    later = 0;
    for (const f of selects) {
      const values = [...new Set(items.map((item) => f.of(item, ctx)))].filter(Boolean).sort();
      if (query[f.id] && !values.includes(query[f.id])) values.push(query[f.id]);
      const known = values.join('\n');
      if (known === f.known && f.select.options.length > 0) continue;
      f.known = known;
      f.select.replaceChildren(el('option', { value: '' }, 'All'), ...values.map((v) => el('option', { value: v }, v)));
      f.select.value = query[f.id] ?? '';
    }
  }

  function update() {
    const all = [...model[kind].values()];
    const wait = all.length < FEW ? 0 : chosen + CHOICES_MS - performance.now();
    if (wait <= 0) choices(all);
    else later ||= setTimeout(() => choices([...model[kind].values()]), wait);
    const words = (query.q ?? '').toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = selects.filter(({ id }) => query[id]);
    const items = all.filter((item) => wanted.every((f) => f.of(item, ctx) === query[f.id]) && (words.length === 0 || fits(find(item).toLowerCase(), words)));
    grid.show(items);
    order.hidden = !grid.held;
    setText(count, items.length === all.length ? many(all.length, one) : `${number(items.length)} of ${many(all.length, one)}`);
    if (top && model.complete) requestAnimationFrame(() => { grid.node.scrollTop = top; top = 0; });
  }

  return { node, title: heading, update, close() {
    left.set(kind, { sort: grid.sort, top: grid.node.scrollTop, hash: write(kind, '', query) });
    clearTimeout(later);
    grid.close();
  } };
}

const fits = (text, words) => words.every((word) => text.includes(word));
