// rows.js: the arithmetic of a list of which only what is seen exists. Pure.

// windowOf says which rows exist: {first, end}, a few more than are seen, so that a
// scroll shows rows at once.
export function windowOf({ top, height, row, count, spare = 6 }) {
  if (!(row > 0) || count <= 0) return { first: 0, end: 0 };
  const first = Math.min(Math.max(0, Math.floor(top / row) - spare), Math.max(0, count - 1));
  const end = Math.min(count, Math.ceil((Math.max(0, top) + height) / row) + spare);
  return { first, end: Math.max(first, end) };
}

// scrollTo gives where to scroll so that a row is seen whole below a head of a height.
export function scrollTo({ index, top, height, row, head = 0 }) {
  const from = index * row;
  if (from < top) return from;
  const most = from + row + head - height;
  return most > top ? most : top;
}

// step says to which row a key goes, or -1 where it is none of these keys.
export function step(key, { index, count, page }) {
  if (count === 0) return -1;
  const to = { ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + page, PageUp: index - page, Home: 0, End: count - 1 }[key];
  return to === undefined ? -1 : Math.min(count - 1, Math.max(0, to));
}

// compare orders two values, what is not known last, whichever way the order goes.
export function compare(a, b, down) {
  const none = (v) => v === undefined || v === null || v === '' || Number.isNaN(v);
  if (none(a) || none(b)) return none(a) - none(b);
  const order = a < b ? -1 : a > b ? 1 : 0;
  return down ? -order : order;
}

// arrange sorts items by a value. It begins with the order of before, since most of that is still right, and
// sorting what is nearly sorted is fast.
export function arrange(items, { value, key, down, before = new Map() }) {
  const known = [];
  const fresh = [];
  for (const item of items) {
    const at = before.get(key(item));
    const entry = { item, value: value(item), key: key(item) };
    if (at === undefined) fresh.push(entry);
    else known[at] = entry;
  }
  const entries = known.filter(Boolean).concat(fresh);
  entries.sort((a, b) => compare(a.value, b.value, down) || (a.key < b.key ? -1 : 1));
  return entries.map(({ item }) => item);
}

// keep leaves the order as it was: what is gone is left out, what is new comes last.
export function keep(items, { key, before }) {
  const known = [];
  const fresh = [];
  for (const item of items) {
    const at = before.get(key(item));
    if (at === undefined) fresh.push(item);
    else known[at] = item;
  }
  return known.filter((item) => item !== undefined).concat(fresh);
}
