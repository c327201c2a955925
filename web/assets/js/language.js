// language.js: the player's texts in a person's language. English is always there; the tables
// of the others are fetched when they are needed.

import en from './words/en.js';

// LOADERS fetch the tables. They stand here one by one, so that bundlers see them.
const LOADERS = {
  de: () => import('./words/de.js'),
  fr: () => import('./words/fr.js'),
  ja: () => import('./words/ja.js'),
};

export const LANGUAGES = ['en', ...Object.keys(LOADERS)];

const loaded = new Map([['en', en]]);

// late are the English texts that come later; the tables of the others have all.
const late = {};
export const learn = (texts) => void Object.assign(late, texts);

export class Words {
  // own are texts that a page has in place of ours, by the same keys.
  constructor(lang = 'en', table = en, own = {}) {
    this.lang = lang;
    this.table = { ...table, ...own };
  }

  // say gives a text, with values in its {placeholders}. An unknown key is itself.
  say(key, values = {}) {
    return String(this.table[key] ?? late[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
  }

  has(key) { return key in this.table || key in late; }
}

export const english = new Words();

// languageOf is the first of some language tags, such as de-CH, that the player speaks.
export function languageOf(tags) {
  for (const tag of tags) {
    const lang = String(tag ?? '').toLowerCase().split(/[-_]/)[0];
    if (LANGUAGES.includes(lang)) return lang;
  }
  return 'en';
}

// wordsOf is a Words at once where the table is there, else a promise of one.
export function wordsOf(lang, own) {
  const table = loaded.get(lang);
  if (table) return new Words(lang, table, own);
  return LOADERS[lang]().then(({ default: found }) => {
    loaded.set(lang, found);
    return new Words(lang, found, own);
  }, () => new Words('en', en, own)); // a text in English is better than none
}
