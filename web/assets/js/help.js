// help.js: what a person can do in this session, in words. Pure; screens/helpview.js
// shows it. It names nothing that the app's job or this device does not allow.

const chord = (letter) => ['Ctrl', 'Alt', 'Shift', letter];

// help gives sections {title, rows}, and each row {keys, text}: keys is a list of key
// names, or empty. display is the grant's wire.Display; touch says that the person has a
// touch screen; mac that the keyboard is a Mac's, with choices (input/choices.js); locks
// that full screen gets the system's keys; screen that full screen is possible.
export function help({ display, touch = false, mac = false, choices = {}, locks = false, screen = true }) {
  return [
    { title: touch ? 'Fingers' : 'Mouse', rows: touch ? fingers(display) : mouse(display) },
    { title: 'Keyboard', rows: keyboard({ touch, mac, choices, locks, screen }) },
    { title: 'Gamepads', rows: display.gamepads ? [say('The app gets up to four gamepads. Press a button of one, so that the browser finds it.')] : [] },
    { title: 'Copy and paste', rows: clipboard(display.clipboard, mac) },
    { title: 'Picture and sound', rows: picture(display) },
    { title: 'This page', rows: page(screen) },
  ].filter(({ rows }) => rows.length > 0);
}

function mouse({ pointer }) {
  if (pointer === 'absolute') return [say('The mouse works as in an app on your own computer.')];
  const when = pointer === 'auto' ? 'When the app takes the mouse, click into the picture.' : 'Click into the picture to give the app your mouse.';
  return [say(when), row(['Esc'], 'gives you the mouse back')];
}

const fingers = ({ touch, pointer }) => touch && pointer !== 'relative' ? [
  say('The app gets each finger, up to ten. What it does not take as a touch is a click or a drag.'),
] : [
  row(['Tap'], 'click'),
  row(['Drag'], 'drag with the left button'),
  row(['Press and hold'], 'right button'),
  row(['Two fingers'], 'drag or pinch: wheel; tap: right click'),
];

function keyboard({ touch, mac, choices, locks, screen }) {
  const rows = [say('The app gets every key that your browser and system leave to this page. Accents, input methods and emoji work too.')];
  if (locks && screen) rows.push(say('In full screen it also gets Alt+Tab and the Windows key. Hold Esc to leave.'));
  if (touch) rows.push(say('The menu shows the screen keyboard.'));
  if (mac) {
    rows.push(row(['⌥'], choices.option === 'alt' ? 'is Alt' : 'types characters, such as @'));
    rows.push(row(['⌘'], choices.command === 'meta' ? 'is the Super key' : 'is Control'));
    rows.push(say('The menu changes both.'));
  }
  return rows;
}

function clipboard(mode, mac) {
  const rows = [];
  if (mode === 'in' || mode === 'both') rows.push(row([mac ? '⌘' : 'Ctrl', 'V'], 'pastes into the app what you copied elsewhere; the menu has it too'));
  if (mode === 'out' || mode === 'both') rows.push(say('What you copy in the app can be pasted elsewhere.'));
  if (rows.length > 0) rows.push(say('Text, formatted text and pictures, up to 8 MB of each. Your browser may ask you to allow it.'));
  return rows.length > 0 ? rows : [say('The operator keeps your clipboard and the app apart.')];
}

function picture(display) {
  const rows = [say(display.max_width > 0 ? 'The app takes the size of this window.' : 'The picture is scaled to this window.')];
  if (!display.audio) rows.push(say('This app has no sound.'));
  rows.push(row(['Alt', 'F4'], 'closes the window in front; the menu has it too where there are several'));
  return rows;
}

function page(screen) {
  const rows = [row(chord('H'), 'this help'), row(chord('M'), 'the menu, also at the top edge'), row(chord('S'), 'statistics')];
  if (screen) rows.push(row(chord('F'), 'full screen'));
  return [...rows, row(chord('Q'), 'ends the session')];
}

const row = (keys, text) => ({ keys, text });
const say = (text) => row([], text);
