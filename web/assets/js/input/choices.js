// choices.js: what a person chose about their keyboard, for all apps of this router.
//
//	option   characters: Option with a key is the character that it gives; alt: it is Alt
//	command  control: Command is Control; meta: it is the Super key

const KEY = 'nearcast:keyboard';
const KNOWN = { option: ['characters', 'alt'], command: ['control', 'meta'] };

export function recallChoices() {
  let saved = {};
  try {
    saved = JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    // No storage, or nothing that makes sense: the first of each.
  }
  return Object.fromEntries(Object.entries(KNOWN).map(([name, values]) => [name, values.includes(saved[name]) ? saved[name] : values[0]]));
}

// choose takes the other value of a choice, and remembers it.
export function choose(choices, name) {
  const [first, second] = KNOWN[name];
  choices[name] = choices[name] === first ? second : first;
  try {
    localStorage.setItem(KEY, JSON.stringify(choices));
  } catch {
    // Then it holds for this page.
  }
}
