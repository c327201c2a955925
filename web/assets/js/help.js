// help.js: what a person can do in this session, in words. Pure; screens/helpview.js
// shows it. It names nothing that the app's job or this device does not allow.

import { english } from './language.js';
import './later/en.js';

const chord = (letter, w) => [w.say('key.ctrl'), 'Alt', w.say('key.shift'), letter];

// help gives sections {title, rows}, and each row {keys, text}: keys is a list of key
// names, or empty. display is the grant's wire.Display; touch says that the person has a
// touch screen; mac that the keyboard is a Mac's, with choices (input/choices.js); w the words; locks
// that full screen gets the system's keys; screen that full screen is possible; stills that those who run
// the app may look at the picture.
export function help({ display, stills = false, w = english, touch = false, mac = false, choices = {}, locks = false, screen = true }) {
  return [
    { title: touch ? w.say('help.fingers') : w.say('help.mouse'), rows: touch ? fingers(display, w) : mouse(display, w) },
    { title: w.say('help.keyboard'), rows: keyboard({ touch, mac, choices, locks, screen, w }) },
    { title: w.say('help.gamepads'), rows: display.gamepads ? [say(w.say('help.gamepads.text'))] : [] },
    { title: w.say('help.clip'), rows: clipboard(display.clipboard, mac, w) },
    { title: w.say('help.picture'), rows: picture(display, stills, locks && screen, w) },
    { title: w.say('help.page'), rows: page(screen, w) },
  ].filter(({ rows }) => rows.length > 0);
}

function mouse({ pointer }, w) {
  if (pointer === 'absolute') return [say(w.say('help.mouse.absolute'))];
  const when = pointer === 'auto' ? w.say('help.mouse.auto') : w.say('help.mouse.relative');
  return [say(when), row(['Esc'], w.say('help.mouse.esc'))];
}

const fingers = ({ touch, pointer }, w) => touch && pointer !== 'relative' ? [
  say(w.say('help.fingers.all')),
] : [
  row([w.say('help.tap')], w.say('help.tap.does')),
  row([w.say('help.drag')], w.say('help.drag.does')),
  row([w.say('help.hold')], w.say('help.hold.does')),
  row([w.say('help.two')], w.say('help.two.does')),
];

function keyboard({ touch, mac, choices, locks, screen, w }) {
  const rows = [say(w.say('help.keys'))];
  if (locks && screen) rows.push(say(w.say('help.keys.full')));
  if (touch) rows.push(say(w.say('help.keys.touch')));
  if (mac) {
    rows.push(row(['⌥'], choices.option === 'alt' ? w.say('help.option.alt') : w.say('help.option.characters')));
    rows.push(row(['⌘'], choices.command === 'meta' ? w.say('help.command.meta') : w.say('help.command.control')));
    rows.push(say(w.say('help.choices')));
  }
  return rows;
}

function clipboard(mode, mac, w) {
  const rows = [];
  if (mode === 'in' || mode === 'both') rows.push(row([mac ? '⌘' : w.say('key.ctrl'), 'V'], w.say('help.clip.in')));
  if (mode === 'out' || mode === 'both') rows.push(say(w.say('help.clip.out')));
  if (rows.length > 0) rows.push(say(w.say('help.clip.kinds')));
  return rows.length > 0 ? rows : [say(w.say('help.clip.none'))];
}

function picture(display, stills, full, w) {
  const rows = [say(display.max_width > 0 ? w.say('help.picture.follows') : w.say('help.picture.scaled'))];
  if (!display.audio) rows.push(say(w.say('help.silent')));
  if (stills) rows.push(say(w.say('help.stills')));
  // Elsewhere the browser's own window gets these keys, and closes.
  if (full) rows.push(row(['Alt', 'F4'], w.say('help.closes')));
  return rows;
}

function page(screen, w) {
  const rows = [row(chord('H', w), w.say('help.help')), row(chord('M', w), w.say('help.menu')), row(chord('S', w), w.say('help.stats'))];
  if (screen) rows.push(row(chord('F', w), w.say('help.full')));
  return [...rows, row(chord('Q', w), w.say('help.quit'))];
}

const row = (keys, text) => ({ keys, text });
const say = (text) => row([], text);
