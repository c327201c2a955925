// keyed.js: children of an element by key, which stay the same elements while their texts change: the
// focus and what a screen reader reads stay where they are.

// keyed shows items in their order; make(item) gives {node, update(item)}.
export function keyed(parent, make) {
  const known = new Map();
  return (items, key) => {
    const keys = new Set(items.map(key));
    for (const [k, { node }] of known) {
      if (!keys.has(k)) {
        node.remove();
        known.delete(k);
      }
    }
    items.forEach((item, i) => {
      const k = key(item);
      if (!known.has(k)) known.set(k, make(item));
      const one = known.get(k);
      one.update(item);
      if (parent.children[i] !== one.node) parent.insertBefore(one.node, parent.children[i] ?? null);
    });
  };
}
