import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { help } from '../assets/js/help.js';

const display = { width: 1280, height: 720, fps: 30, pointer: 'absolute', audio: true };
const flat = (options) => help({ display, ...options }).flatMap(({ rows }) => rows).map(({ keys, text }) => [...keys, text].join(' ')).join('\n');

test('the help names what this session allows, and nothing else', () => {
  assert.doesNotMatch(flat(), /Esc|⌥|Tap|Windows key|pastes into|no sound/);
  assert.match(flat(), /keeps your clipboard and the app apart/);
  for (const [mode, gives, takes] of [['in', false, true], ['out', true, false], ['both', true, true]]) {
    const text = flat({ display: { ...display, clipboard: mode } });
    assert.equal(/can be pasted elsewhere/.test(text), gives, mode);
    assert.equal(/pastes into the app/.test(text), takes, mode);
    assert.match(text, /up to 8 MB of each/);
  }
  assert.match(flat({ display: { ...display, pointer: 'relative' } }), /^Click into the picture.*\nEsc gives/m);
  assert.match(flat({ display: { ...display, pointer: 'auto' } }), /^When the app takes the mouse/m);
  assert.match(flat({ display: { ...display, max_width: 1920 } }), /takes the size of this window/);
  assert.match(flat({ display: { ...display, audio: false } }), /no sound/);
  assert.doesNotMatch(flat(), /look at single pictures/);
  assert.match(flat({ stills: true }), /may look at single pictures/);
  assert.doesNotMatch(flat(), /amepad/);
  assert.match(flat({ display: { ...display, gamepads: true } }), /up to four gamepads/);
  assert.match(flat({ locks: true }), /Alt\+Tab and the Windows key/);
  assert.doesNotMatch(flat({ locks: true, screen: false }), /full screen/);
  assert.match(flat({ locks: true }), /Alt F4 in full screen/);
  for (const alone of [{}, { locks: true, screen: false }]) assert.doesNotMatch(flat(alone), /F4/);
  assert.match(flat({ touch: true }), /Press and hold right button/);
  assert.match(flat({ touch: true, display: { ...display, touch: true } }), /gets each finger/);
  assert.match(flat({ touch: true, display: { ...display, touch: true, pointer: 'relative' } }), /Press and hold right button/);
  assert.match(flat({ mac: true, choices: { option: 'alt', command: 'control' } }), /⌥ is Alt\n⌘ is Control/);
  assert.match(flat({ mac: true, choices: {}, display: { ...display, clipboard: 'in' } }), /⌘ V pastes/);
});

test('the help names every key that the page keeps for itself', () => {
  const source = readFileSync(new URL('../assets/js/input/keyboard.js', import.meta.url), 'utf8');
  const kept = source.match(/CHORDS = \{([^}]*)\}/)[1].match(/Key(\w)/g).map((code) => code.slice(3)).sort();
  const named = help({ display }).flatMap(({ rows }) => rows).filter(({ keys }) => keys.length === 4).map(({ keys }) => keys[3]).sort();
  assert.deepEqual(named, kept);
});
