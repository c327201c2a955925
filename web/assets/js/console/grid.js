// grid.js: a table of many thousand rows, of which only those exist that are seen.
//
//	const grid = new Grid({ label: 'Sessions', columns, key: (s) => s.session, href: (s) => write('sessions', s.session) });
//	grid.show(items); // again with each change; the rows that are seen are drawn anew
//
// A column is {id, name, text(item), value(item), num, tone(item)}: what a cell says, by what it is ordered, whether it
// is a figure, and how it is meant ('good', 'bad', 'faint'). The first column is a link to the row's own page.
//
// The grid has the keyboard's focus itself and names the active row (aria-activedescendant): rows come and
// go, and the focus stays. While a mouse points at rows, or the keyboard is used in them, the order stands still: nobody
// presses on what has just moved away.

import { el, setText } from '../ui/dom.js';
import { arrange, keep, scrollTo, step, windowOf } from './rows.js';

let grids = 0;

export class Grid {
  #columns; #key; #href; #head; #body; #rows = []; #items = []; #order = new Map(); #sort; #active = ''; #pointed = false; #used = false; #height = 40; #frame = 0;

  constructor({ label, columns, key, href, sort, down = false, onSort = () => {} }) {
    const id = `grid-${grids += 1}`;
    this.#columns = columns;
    this.#key = key;
    this.#href = href;
    this.#sort = { column: columns.find((c) => c.id === sort) ?? columns[0], down };
    this.onSort = onSort;
    this.#head = el('div.grid-head', { role: 'row', 'aria-rowindex': 1 }, columns.map((c) => el(`div.cell.c-${c.id}${c.num ? '.num' : ''}`, { role: 'columnheader' },
      el('button', { type: 'button', onclick: () => this.sortBy(c.id) }, c.name))));
    this.#body = el('div.grid-rows', { role: 'rowgroup' });
    this.node = el('div.grid', { role: 'grid', tabIndex: 0, id, 'aria-label': label, 'aria-colcount': columns.length,
      onscroll: () => this.#draw(), onkeydown: (event) => this.#pressed(event), onclick: (event) => this.#clicked(event),
      onpointermove: ({ pointerType }) => { this.#pointed = pointerType === 'mouse'; },
      onpointerleave: () => { this.#pointed = false; this.#arrange(); },
      onfocusout: () => { this.#used = false; this.#arrange(); },
    }, el('div', { role: 'rowgroup' }, this.#head), this.#body);
    this.node.dataset.columns = columns.length;
    this.resized = new ResizeObserver(() => this.#measure());
    this.resized.observe(this.node);
    this.#tellSort();
  }

  get sort() { return { id: this.#sort.column.id, down: this.#sort.down }; }
  get held() { return this.#pointed || this.#used; }

  // show draws the items. Those that pass a filter are the caller's choice.
  show(items) {
    this.#items = items;
    this.#arrange(this.held);
  }

  sortBy(id, down = this.#sort.column.id === id ? !this.#sort.down : Boolean(this.#columns.find((c) => c.id === id).down)) {
    this.#sort = { column: this.#columns.find((c) => c.id === id), down };
    this.#tellSort();
    this.#order.clear();
    this.#arrange();
    this.node.scrollTop = 0;
    this.onSort(this.sort);
  }

  close() {
    this.resized.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  #tellSort() {
    for (const [i, c] of this.#columns.entries()) {
      const cell = this.#head.children[i];
      if (c === this.#sort.column) cell.setAttribute('aria-sort', this.#sort.down ? 'descending' : 'ascending');
      else cell.removeAttribute('aria-sort');
    }
  }

  #arrange(stay = false) {
    const { column, down } = this.#sort;
    this.#items = stay ? keep(this.#items, { key: this.#key, before: this.#order })
      : arrange(this.#items, { value: column.value, key: this.#key, down, before: this.#order });
    this.#order = new Map(this.#items.map((item, i) => [this.#key(item), i]));
    this.node.setAttribute('aria-rowcount', this.#items.length + 1);
    if (!this.#frame) this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#draw(); });
  }

  // The style says how high a row is: a phone's are cards.
  #measure() {
    const height = parseFloat(getComputedStyle(this.node).getPropertyValue('--row')) || 40;
    if (height !== this.#height) for (const row of this.#rows) row.index = -1; // all stand elsewhere
    this.#height = height;
    this.#draw();
  }

  #draw() {
    const count = this.#items.length;
    const { first, end } = windowOf({ top: this.node.scrollTop, height: this.node.clientHeight, row: this.#height, count });
    this.#body.style.height = `${count * this.#height}px`;
    while (this.#rows.length < end - first) this.#rows.push(this.#row());
    // A row that is seen before and after keeps its element.
    const size = this.#rows.length;
    for (const [slot, row] of this.#rows.entries()) {
      const index = first + ((slot - (first % size) + size) % size);
      if (index < end) this.#fill(row, index);
      else {
        row.node.hidden = true;
        row.index = -1;
      }
    }
    const active = this.#rows.find(({ key, index }) => index >= 0 && key === this.#active);
    if (active) this.node.setAttribute('aria-activedescendant', active.node.id);
    else this.node.removeAttribute('aria-activedescendant');
  }

  #row() {
    const link = el('a', { tabIndex: -1 });
    const cells = this.#columns.map((c, i) => el(`div.cell.c-${c.id}${c.num ? '.num' : ''}`, { role: 'gridcell', 'data-name': c.name }, i === 0 ? link : ''));
    const node = el('div.grid-row', { role: 'row', id: `${this.node.id}-row-${this.#rows.length}` }, cells);
    this.#body.append(node);
    return { node, cells, link, index: -1, key: '', item: null };
  }

  #fill(row, index) {
    const item = this.#items[index];
    if (row.index !== index) {
      row.node.hidden = false;
      row.index = index;
      row.node.style.transform = `translateY(${index * this.#height}px)`;
      row.node.setAttribute('aria-rowindex', index + 2);
      row.node.classList.toggle('odd', index % 2 === 1);
    }
    const key = this.#key(item);
    row.node.classList.toggle('active', key === this.#active);
    if (key !== row.key) {
      row.key = key;
      row.link.href = this.#href(item);
    }
    row.item = item;
    for (const [i, c] of this.#columns.entries()) {
      const tone = c.tone?.(item) ?? '';
      if ((row.cells[i].dataset.tone ?? '') !== tone) row.cells[i].dataset.tone = tone;
      setText(i === 0 ? row.link : row.cells[i], String(c.text(item)));
    }
  }

  #pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest('button')) return;
    const count = this.#items.length;
    if (event.key === 'Enter' && this.#order.has(this.#active)) {
      location.hash = this.#href(this.#items[this.#order.get(this.#active)]);
      return;
    }
    const head = this.#head.offsetHeight;
    const page = Math.max(1, Math.floor((this.node.clientHeight - head) / this.#height) - 1);
    const index = step(event.key, { index: this.#order.get(this.#active) ?? -1, count, page });
    if (index < 0) return;
    event.preventDefault();
    this.#used = true;
    this.#active = this.#key(this.#items[index]);
    this.node.scrollTop = scrollTo({ index, top: this.node.scrollTop, height: this.node.clientHeight, row: this.#height, head });
    this.#draw();
  }

  #clicked(event) {
    const row = event.target.closest('.grid-row');
    if (!row || event.target.closest('a')) return;
    const { key, item } = this.#rows.find(({ node }) => node === row);
    this.#active = key;
    location.hash = this.#href(item);
  }
}
