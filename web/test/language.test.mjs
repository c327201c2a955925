import test from 'node:test';
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { LANGUAGES, Words, languageOf, wordsOf } from '../assets/js/language.js';
import later from '../assets/js/later/en.js';
import first from '../assets/js/words/en.js';

const en = { ...first, ...later };
const js = new URL('../assets/js/', import.meta.url);
const placeholders = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort().join();

for (const lang of LANGUAGES) {
  test(`${lang} has every text, with the same placeholders`, async () => {
    const { table } = lang === 'en' ? { table: en } : await wordsOf(lang);
    assert.deepEqual(Object.keys(table).sort(), Object.keys(en).sort());
    for (const [key, text] of Object.entries(table)) {
      assert.ok(text.trim(), `${key} is empty`);
      assert.equal(placeholders(text), placeholders(en[key]), key);
    }
    // Many towns have one name everywhere.
    const same = Object.keys(table).filter((key) => !key.startsWith('place.') && table[key] === en[key] && /[a-z]{4}/.test(en[key].replaceAll(/\{\w+\}/g, '')));
    assert.ok(lang === 'en' || same.length < 25, `these were not translated: ${same}`);
  });
}

test('the tables in words/ are those that can be chosen', () => {
  assert.deepEqual(readdirSync(new URL('words/', js)).sort(), LANGUAGES.map((lang) => `${lang}.js`).sort());
});

test('every key that a module names is a text, and every text is named', () => {
  const source = readdirSync(js, { recursive: true }).filter((f) => f.endsWith('.js') && !f.startsWith('words/') && f !== 'later/en.js')
    .map((f) => readFileSync(new URL(f, js), 'utf8')).join('\n');
  const named = [...source.matchAll(/\.say\((?:[^'`()]*\? )?'([\w.-]+)'(?: : '([\w.-]+)')?/g)].flatMap((m) => m.slice(1)).filter(Boolean);
  assert.ok(named.length > 100, `${named.length} keys were found`);
  for (const key of named) assert.ok(key in en, `${key} is no text`);
  const made = /^(rtt|place|station|doing|end|code|problem|clip|soon|stats|shut)\.|\.text$/; // whose keys are put together
  for (const key of Object.keys(en)) assert.ok(made.test(key) || source.includes(`'${key}'`), `${key} is never said`);
});

test('the English texts are those that a page begins with and those that come later', () => {
  assert.deepEqual(Object.keys(first).filter((key) => key in later), []);
  for (const key of ['play', 'end.left']) assert.ok(wordsOf('en').has(key) && wordsOf('en').say(key) === en[key], key);
});

test('a language is chosen by the first tag that is known', () => {
  assert.equal(languageOf(['', 'de-CH', 'fr']), 'de');
  assert.equal(languageOf(['pt-BR', 'ja']), 'ja');
  assert.equal(languageOf(['EN_us']), 'en');
  assert.equal(languageOf([]), 'en');
});

test('a page has texts of its own, and an unknown key is itself', () => {
  const w = new Words('en', en, { play: 'Go, {name}' });
  assert.equal(w.say('play', { name: '{x}' }), 'Go, {x}');
  assert.equal(w.say('play'), 'Go, {name}');
  assert.equal(w.say('cancel'), 'Cancel');
  assert.equal(w.say('no.such'), 'no.such');
});
