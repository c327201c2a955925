import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const web = new URL('../', import.meta.url);
const preloads = (page) => [...readFileSync(new URL(page, web), 'utf8').matchAll(/(?:href|src)="\/(assets\/js\/[^"]+)"/g)].map(([, path]) => new URL(path, web).href);

// modules are all that a module imports, also later; but only one language.
function modules(url, found = new Set()) {
  if (found.has(url.href)) return found;
  found.add(url.href);
  const source = readFileSync(url, 'utf8');
  for (const [, path] of source.matchAll(/^(?:import|export)\b[^;']*?(?:from )?'(\.[^']+)';/gms)) modules(new URL(path, url), found);
  for (const [, path] of source.matchAll(/\bimport\('(\.[^']+)'\)/g)) if (!path.includes('/words/')) modules(new URL(path, url), found);
  return found;
}

// A browser that learns of a module only from another asks for it a round trip later.
test('play.html names every module that it needs, and no other', () => {
  const needed = modules(new URL('assets/js/play.js', web));
  const named = preloads('play.html');
  const ahead = new URL('assets/js/ahead.js', web).href;
  assert.deepEqual([...new Set(named)].filter((url) => url !== ahead).sort(), [...needed].sort());
  assert.ok(needed.size < 75, `${needed.size} modules: each is a request`);
});

test('console.html does, too', () => {
  const needed = modules(new URL('assets/js/console.js', web));
  assert.deepEqual([...new Set(preloads('console.html'))].sort(), [...needed].sort());
});
