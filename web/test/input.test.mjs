import test from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { notches, pictureRect, toPicture } from '../assets/js/input/geometry.js';
import { Fingers, Gestures, ScreenKeyboard, Touch } from '../assets/js/input/touch.js';
import { Movement } from '../assets/js/input/movement.js';
import { Keyboard } from '../assets/js/input/keyboard.js';
import { Pointer } from '../assets/js/input/pointer.js';

const wireDir = new URL('../../internal/wire/testdata/', import.meta.url);

test('the picture is fitted with its aspect kept', () => {
  assert.deepEqual(pictureRect({ left: 0, top: 0, width: 1000, height: 700 }, 1280, 720), { left: 0, top: 68.75, width: 1000, height: 562.5 });
  assert.deepEqual(pictureRect({ left: 10, top: 5, width: 400, height: 100 }, 100, 100), { left: 160, top: 5, width: 100, height: 100 });
  const box = { left: 1, top: 2, width: 3, height: 4 };
  assert.deepEqual(pictureRect(box, 0, 0), box, 'before the size is known');
  // Videos have even sizes: an odd pixel of the window stays free, and no pixel is drawn as two.
  const odd = { left: 10, top: 5, width: 1365, height: 767 };
  assert.deepEqual(pictureRect(odd, 1364, 766), { left: 10, top: 5, width: 1364, height: 766 });
  assert.deepEqual(pictureRect({ left: 0, top: 0, width: 682.5, height: 383.5 }, 1364, 766, 2), { left: 0, top: 0, width: 682, height: 383 });
});

test('coordinates are exact at the edges and clamped beside them', () => {
  const rect = { left: 100, top: 50, width: 800, height: 450 };
  assert.deepEqual(toPicture(rect, 100, 50), { x: 0, y: 0, inside: true });
  assert.deepEqual(toPicture(rect, 900, 500), { x: 1, y: 1, inside: true });
  assert.deepEqual(toPicture(rect, 500, 275), { x: 0.5, y: 0.5, inside: true });
  assert.deepEqual(toPicture(rect, 99, 600), { x: 0, y: 1, inside: false });
});

test('every point of a large display can be hit', () => {
  const rect = { left: 0, top: 0, width: 3840, height: 2160 };
  for (let px = 0; px < 3840; px += 7) assert.equal(Math.floor(toPicture(rect, px + 0.5, 0).x * 3840), px);
});

test('wheels: a notch is 120, trackpads are finer', () => {
  assert.deepEqual(notches({ deltaX: 0, deltaY: 100, wheelDeltaX: 0, wheelDeltaY: -120, deltaMode: 0 }), { dx: 0, dy: 120 });
  assert.deepEqual(notches({ deltaX: 0, deltaY: -3, deltaMode: 1 }), { dx: 0, dy: -120 });
  assert.deepEqual(notches({ deltaX: 10, deltaY: 0, wheelDeltaX: -30, deltaMode: 0 }), { dx: 12, dy: 0 });
});

test('Shift with the wheel of a mouse does not turn it sideways, and what is sideways stays so', () => {
  const turn = (deltaX, wheelDeltaX, more = {}, mac = false) => {
    const { dx, dy } = notches({ deltaX, deltaY: 0, wheelDeltaX, deltaMode: 0, shiftKey: true, ...more }, mac);
    return [Math.round(dx), Math.round(dy)];
  };
  assert.deepEqual(turn(4.000244140625, -12, {}, true), [0, 5], 'a mouse at a Mac');
  assert.deepEqual(turn(-3, 120, { deltaMode: 1 }, true), [0, -120], 'the same in Firefox');
  assert.deepEqual(turn(3, -120, { deltaMode: 1 }), [120, 0], 'elsewhere it is a tilted wheel');
  assert.deepEqual(turn(120, -120), [120, 0], 'the same in Chromium');
  for (const mac of [false, true]) {
    assert.deepEqual(turn(10, -30, {}, mac), [12, 0], 'a trackpad');
    assert.deepEqual(turn(40, -120, {}, mac), [48, 0], 'a trackpad, by chance as far as a notch');
    assert.deepEqual(turn(100, -120, { shiftKey: false }, mac), [120, 0], 'a tilted wheel');
  }
  assert.deepEqual(notches({ deltaX: 1, deltaY: 3, deltaMode: 1, shiftKey: true }, true), { dx: 40, dy: 120 });
});

// hand drives Gestures with a clock of its own.
function hand() {
  const did = [];
  const timers = [];
  const log = (name) => (...args) => did.push([name, ...args.map((a) => (typeof a === 'object' ? [a.x, a.y] : a))]);
  const g = new Gestures({ move: log('move'), down: log('down'), up: log('up'), wheel: log('wheel'), buzz: log('buzz') },
    (fn) => { const timer = { fn }; timers.push(timer); return () => { timer.fn = () => {}; }; });
  return { g, did, ring: () => timers.splice(0).forEach((timer) => timer.fn()) };
}
const p = (x, y) => ({ x, y });

test('tap is a click, also with a tremble', () => {
  const { g, did } = hand();
  g.down(1, p(10, 10), 0);
  g.move(1, p(13, 11));
  g.up(1, p(13, 11), 90);
  assert.deepEqual(did, [['down', 0, [10, 10]], ['up', 0, [10, 10]]]);
});

test('drag begins where the finger came down', () => {
  const { g, did, ring } = hand();
  g.down(1, p(10, 10), 0);
  g.move(1, p(40, 10));
  ring();
  g.up(1, p(60, 10), 900);
  assert.deepEqual(did, [['down', 0, [10, 10]], ['move', [40, 10]], ['up', 0, [60, 10]]]);
});

test('press and hold is the right button, and may drag', () => {
  const { g, did, ring } = hand();
  g.down(1, p(5, 5), 0);
  ring();
  g.move(1, p(50, 5));
  g.up(1, p(50, 5), 900);
  assert.deepEqual(did, [['buzz'], ['down', 2, [5, 5]], ['move', [50, 5]], ['up', 2, [50, 5]]]);
});

test('two fingers: tap is a right click, drag and pinch are the wheel, and nothing is clicked by accident', () => {
  let { g, did } = hand();
  g.down(1, p(10, 10), 0);
  g.down(2, p(30, 10), 20);
  g.up(1, p(10, 10), 100);
  g.up(2, p(30, 10), 110);
  assert.deepEqual(did, [['move', [20, 10]], ['down', 2, [20, 10]], ['up', 2, [20, 10]]]);

  ({ g, did } = hand());
  g.down(1, p(10, 100), 0);
  g.down(2, p(30, 100), 20);
  g.move(1, p(10, 80));
  g.move(2, p(30, 80));
  g.up(1, p(10, 80), 500);
  g.up(2, p(30, 80), 510);
  assert.ok(did.every(([name]) => name === 'move' || name === 'wheel'));
  assert.ok(did.filter(([n]) => n === 'wheel').reduce((sum, [, , dy]) => sum + dy, 0) > 0, 'content follows the fingers');

  ({ g, did } = hand());
  g.down(1, p(100, 100), 0);
  g.down(2, p(120, 100), 20);
  g.move(2, p(180, 100));
  const [, , dy] = did.at(-1);
  assert.ok(dy < 0, 'apart is towards: wheel up');
});

test('a second finger ends a drag; a third is nothing; cancel lets go', () => {
  let { g, did } = hand();
  g.down(1, p(0, 0), 0);
  g.move(1, p(50, 0));
  g.down(2, p(90, 0), 100);
  assert.deepEqual(did.filter(([n]) => n === 'up'), [['up', 0, [50, 0]]], 'where it is, not at the second finger');
  g.down(3, p(99, 0), 120);
  ['1', '2', '3'].forEach((id) => g.up(Number(id), p(0, 0), 200));
  assert.equal(did.filter(([n]) => n === 'down').length, did.filter(([n]) => n === 'up').length);

  ({ g, did } = hand());
  g.down(1, p(0, 0), 0);
  g.move(1, p(50, 0));
  g.reset();
  assert.deepEqual(did.at(-1), ['up', 0, [50, 0]]);
});

// touchScreen drives Fingers on a picture of 100 x 100 with frames of its own.
function touchScreen() {
  const sent = [];
  let frames = [];
  const f = new Fingers({
    sink: { send: (m) => sent.push(['send', m]), move: (m) => sent.push(['move', m]) },
    place: ({ x, y }) => toPicture({ left: 0, top: 0, width: 100, height: 100 }, x, y),
    frame: (fn) => { frames.push(fn); return () => { frames = frames.filter((other) => other !== fn); }; },
  });
  const said = () => sent.splice(0).map(([way, { t, n, touches }]) => [way, ...(n ? [n] : []), t, ...touches.map(({ i, x, y }) => `${i}:${x},${y}`)].join(' '));
  return { f, said, tick: () => frames.splice(0).forEach((fn) => fn()) };
}

// touching drives a Touch; did has what came of it, with what it did to a TextField where more is asked for.
function touching(t, more = false) {
  const listeners = {};
  const surface = { addEventListener: (type, on) => { listeners[type] = on; } };
  const had = [globalThis.window, globalThis.document];
  globalThis.window = { addEventListener() {} };
  globalThis.document = { addEventListener() {} };
  t.after(() => { [globalThis.window, globalThis.document] = had; });
  const did = [];
  const pointer = {
    relative: false, display: { width: 640 }, video: { videoWidth: 1280 }, rect: () => ({ width: 640 }), place: ({ clientX: x, clientY: y }) => ({ x, y }),
    at: () => did.push('at'), by: (dx) => did.push(`by ${dx}`), button: (pressed) => did.push(pressed ? 'down' : 'up'),
  };
  const say = (what) => { if (more) did.push(what); };
  const field = { inputMode: '', addEventListener() {} };
  const keyboard = { ready: (event) => say(`ready ${event}`), clipboard: { next: ({ type }) => say(`next ${type}`) } };
  const text = { field, keyboard, place: ({ clientX }) => say(`place ${clientX}`), focus: () => say(`focus ${field.inputMode}`) };
  const touch = new Touch({ surface, pointer, text, sink: {}, onFinger: () => say('finger') });
  touch.start({});
  t.after(() => touch.stop());
  const finger = (type, x) => listeners[type]({ type, pointerType: 'touch', pointerId: 1, clientX: x, clientY: 0, timeStamp: 0, preventDefault() {} });
  return { pointer, finger, did };
}

test('a drag in which the app begins to want motion, or ends to, lets go of what it pressed', (t) => {
  const { pointer, finger, did } = touching(t);
  finger('pointerdown', 0);
  finger('pointermove', 20);
  pointer.relative = true;
  finger('pointermove', 30);
  finger('pointerup', 30);
  assert.deepEqual(did, ['down', 'at', 'by 20', 'up']);
  did.length = 0;
  finger('pointerdown', 0);
  finger('pointermove', 20);
  pointer.relative = false;
  finger('pointerup', 20);
  assert.deepEqual(did, ['by 40']);
});

test('a tap gives the app the keyboard, a key that waits, and the person what it copied', (t) => {
  const { finger, did } = touching(t, true);
  finger('pointerdown', 7);
  finger('pointerup', 7);
  assert.deepEqual(did, ['ready undefined', 'next pointerdown', 'place 7', 'finger', 'focus none', 'ready undefined', 'next pointerup', 'down', 'up']);
  did.length = 0;
  finger('pointerdown', 7);
  assert.deepEqual(did, ['ready undefined', 'next pointerdown', 'place 7', 'focus none'], 'only the first finger is news');
});

// screenKeys drives a ScreenKeyboard on a page of 800 px; log has what happens to the field.
function screenKeys(t, inputMode) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const had = [globalThis.document, globalThis.requestAnimationFrame];
  globalThis.document = { documentElement: { clientHeight: 800 } };
  const frames = [];
  globalThis.requestAnimationFrame = (fn) => frames.push(fn);
  t.after(() => { [globalThis.document, globalThis.requestAnimationFrame] = had; });
  const log = [];
  const root = { activeElement: null };
  const part = (name) => Object.assign(new EventTarget(), {
    getRootNode: () => root,
    focus() {
      const before = root.activeElement;
      root.activeElement = this;
      before?.dispatchEvent(new Event('blur'));
      log.push(`${name} ${field.inputMode}`);
    },
  });
  const field = part('field');
  field.inputMode = inputMode;
  const surface = part('surface');
  const text = { field, focus: () => field.focus() };
  const viewport = Object.assign(new EventTarget(), { height: 800, scale: 1 });
  const keys = new ScreenKeyboard({ surface, text, viewport });
  const begin = () => {
    const abort = new AbortController();
    keys.start(abort.signal);
    return () => abort.abort();
  };
  const end = begin();
  text.focus();
  const high = (height, scale = 1) => {
    Object.assign(viewport, { height, scale });
    viewport.dispatchEvent(new Event('resize'));
  };
  return { keys, field, root, high, begin, end, did: () => log.splice(0), draw: () => frames.splice(0).forEach((fn) => fn()) };
}

test('the screen keyboard comes and goes by its button, with a new focus each time', (t) => {
  const { keys, field, root, did, draw } = screenKeys(t, 'none');
  did();
  keys.toggle();
  assert.deepEqual(did(), ['surface none', 'field text'], 'in the click itself');
  keys.toggle();
  assert.deepEqual(did(), ['surface none']);
  draw();
  assert.deepEqual(did(), ['field none']);
  keys.toggle();
  field.dispatchEvent(new Event('blur')); // of the window
  assert.equal(field.inputMode, 'text');
  root.activeElement = null;
  field.dispatchEvent(new Event('blur'));
  assert.equal(field.inputMode, 'none', 'the person uses something else');
});

test('a screen keyboard that its own key closes is noticed', (t) => {
  const { keys, field, high } = screenKeys(t, 'none');
  keys.toggle();
  high(740); // the browser's bar
  high(400, 2); // larger, and nothing is covered
  high(800);
  t.mock.timers.tick(600);
  assert.equal(field.inputMode, 'text', 'it is not up yet');
  high(400);
  high(200, 2); // larger, and as much covered
  high(780);
  t.mock.timers.tick(100);
  high(400); // it was away for a moment, while the device was turned
  t.mock.timers.tick(600);
  assert.equal(field.inputMode, 'text');
  high(800);
  t.mock.timers.tick(600);
  assert.equal(field.inputMode, 'none');
});

test('a screen keyboard that is closed while the line is cut is noticed later', (t) => {
  const { keys, field, high, begin, end } = screenKeys(t, 'none');
  keys.toggle();
  high(400);
  end();
  high(800);
  t.mock.timers.tick(600);
  assert.equal(field.inputMode, 'text');
  begin();
  t.mock.timers.tick(600);
  assert.equal(field.inputMode, 'none');
});

test('a field on a device without a screen keyboard stays as it is', (t) => {
  const { field, root } = screenKeys(t, '');
  root.activeElement = null;
  field.dispatchEvent(new Event('blur'));
  assert.equal(field.inputMode, '');
});

test('fingers: who comes and goes is sent for sure, and moves once a frame', () => {
  const { f, said, tick } = touchScreen();
  f.down(11, p(50, 50));
  f.down(12, p(70, 50));
  assert.deepEqual(said(), ['send touch 1:0.5,0.5', 'send touch 1:0.5,0.5 2:0.7,0.5']);
  f.move(11, p(40, 50));
  f.move(11, p(30, 50));
  f.move(12, p(80, 50));
  assert.deepEqual(said(), ['move 1 touch 1:0.4,0.5 2:0.7,0.5'], 'the rest waits');
  tick();
  assert.deepEqual(said(), ['move 2 touch 1:0.3,0.5 2:0.8,0.5']);
  tick();
  assert.deepEqual(said(), ['send touch 1:0.3,0.5 2:0.8,0.5'], 'they rest, and the last move may be lost');
  tick();
  f.move(12, p(80, 50));
  assert.deepEqual(said(), [], 'it did not move');
  f.up(12, p(80, 50));
  assert.deepEqual(said(), ['send touch 1:0.3,0.5']);
  f.up(11, p(150, 50));
  assert.deepEqual(said(), ['move 3 touch 1:1,0.5', 'send touch 1:1,0.5', 'send touch']);
  tick();
  f.up(11, p(0, 0));
  assert.deepEqual(said(), []);
});

test('fingers: a number is used once, ten at most, none beside the picture, and reset lifts all', () => {
  const { f, said } = touchScreen();
  f.down(1, p(50, 150));
  f.move(1, p(50, 50));
  f.up(1, p(50, 50));
  assert.deepEqual(said(), [], 'it came down beside the picture');
  for (let n = 1; n <= 11; n += 1) f.down(n, p(n, n));
  assert.equal(said().length, 10);
  f.gone(3);
  f.gone(3);
  f.down(3, p(3, 3));
  const [without, again] = said();
  assert.doesNotMatch(without, / 3:/);
  assert.match(again, / 11:0.03,0.03$/);
  f.move(3, p(4, 4));
  f.reset();
  f.reset();
  assert.deepEqual(said().slice(1), ['send touch']);
});

test('fingers have the fields that wire has', { skip: existsSync(wireDir) ? false : 'internal/wire is not beside this folder' }, () => {
  const golden = (name) => Object.keys(JSON.parse(readFileSync(new URL(`${name}.json`, wireDir), 'utf8')));
  const { f } = touchScreen();
  f.down(1, p(1, 1));
  assert.deepEqual(Object.keys(f.touches[0]), golden('touch'));
  for (const field of ['t', 'touches', 'n']) assert.ok(golden('input').includes(field), field);
  assert.ok(golden('display').includes('touch'));
});

function keys(mac = false, choices = {}) {
  const sent = [];
  const chords = [];
  const k = new Keyboard({ surface: null, sink: { send: (m) => sent.push(m) }, onChord: (c) => chords.push(c), mac, choices });
  const event = (code, key, more = {}) => ({ code, key, preventDefault() { this.prevented = true; }, ...more });
  return { k, sent, chords, event };
}

test('keys go down and up once, a repeat says that they are still held, and nothing reaches the browser', () => {
  const { k, sent, event } = keys();
  const down = event('F5', 'F5');
  k.down(down);
  assert.ok(down.prevented);
  k.down(event('F5', 'F5', { repeat: true }));
  k.up(event('F5', 'F5'));
  k.up(event('F5', 'F5'));
  k.down(event('F5', 'F5', { repeat: true })); // it was released here, as by the loss of the focus
  k.down(event('ControlLeft', 'Control'));
  sent.pop();
  k.down(event('ControlLeft', 'Control', { repeat: true })); // Windows repeats it while AltGr is held
  const press = { t: 'key', code: 'F5', key: 'F5', p: true };
  assert.deepEqual(sent, [press, press, { t: 'key', code: 'F5', key: 'F5' }]);
});

test('keys without a place stay not pressed', () => {
  const { k, sent, event } = keys();
  for (const [type, name] of [['down', 'a'], ['down', 'b'], ['up', 'a'], ['up', 'b']]) k[type](event('', name));
  const held = new Set();
  for (const { key: name, p: pressed } of sent) held[pressed ? 'add' : 'delete'](name);
  assert.deepEqual([...held], []);
});

test('a chord is the page\'s, and lets go of its own keys first', () => {
  const { k, sent, chords, event } = keys();
  k.down(event('KeyS', 'S', { ctrlKey: true, altKey: true, shiftKey: true }));
  assert.deepEqual(chords, ['stats']);
  assert.deepEqual(sent, [{ t: 'blur' }]);
});

const said = (sent) => sent.map((m) => (m.t === 'text' ? `"${m.text}"` : m.t === 'key' ? `${m.p ? '+' : '-'}${m.code}${m.key === m.code ? '' : `:${m.key}`}` : m.t)).join(' ');

test('macOS swallows keyups under Command, and Caps Lock\'s pairs', () => {
  const { k, sent, event } = keys(true);
  k.down(event('MetaLeft', 'Meta', { metaKey: true }));
  k.down(event('KeyZ', 'z', { metaKey: true }));
  k.down(event('KeyZ', 'z', { metaKey: true, repeat: true }));
  k.up(event('MetaLeft', 'Meta'));
  assert.equal(said(sent), '+ControlLeft:Control +KeyZ:z -KeyZ:z +KeyZ:z -KeyZ:z -ControlLeft:Control');
  sent.length = 0;
  k.up(event('CapsLock', 'CapsLock'));
  assert.deepEqual(sent.map((m) => m.p ?? false), [true, false]);
});

test('on a Mac, Option with a key is its character, and Option alone is Alt', () => {
  const { k, sent, event } = keys(true);
  const alt = { altKey: true };
  k.down(event('AltLeft', 'Alt', alt));
  k.down(event('KeyL', '@', alt));
  k.up(event('KeyL', '@', alt));
  k.down(event('KeyL', '@', { ...alt, repeat: true }));
  k.up(event('AltLeft', 'Alt'));
  assert.equal(said(sent), '"@" "@"', 'the app does not see Option');
  sent.length = 0;
  k.down(event('AltLeft', 'Alt', alt));
  k.up(event('AltLeft', 'Alt'));
  assert.equal(said(sent), '+AltLeft:Alt -AltLeft:Alt', 'as for a menu');
  sent.length = 0;
  k.down(event('AltLeft', 'Alt', alt));
  k.down(event('ArrowLeft', 'ArrowLeft', alt));
  k.up(event('ArrowLeft', 'ArrowLeft', alt));
  k.down(event('KeyL', '@', alt));
  k.up(event('AltLeft', 'Alt'));
  assert.equal(said(sent), '+AltLeft:Alt +ArrowLeft -ArrowLeft -AltLeft:Alt "@"');
  sent.length = 0;
  k.down(event('AltLeft', 'Alt', alt));
  k.ready({ ...event('', ''), ...alt });
  k.up(event('AltLeft', 'Alt'));
  assert.equal(said(sent), '+AltLeft:Alt -AltLeft:Alt', 'a click with Option');
  sent.length = 0;
  k.raw = true;
  k.down(event('AltLeft', 'Alt', alt));
  assert.equal(said(sent), '+AltLeft:Alt', 'in a game, Option is a key');
});

test('on a Mac, a person may have Option as Alt and Command as Super', () => {
  const { k, sent, event } = keys(true, { option: 'alt', command: 'meta' });
  k.layout = new Map([['KeyL', 'l'], ['Digit2', '2']]);
  const alt = { altKey: true };
  k.down(event('AltLeft', 'Alt', alt));
  k.down(event('KeyL', '@', alt));
  k.up(event('KeyL', '@', alt));
  k.down(event('Digit2', '™', { ...alt, shiftKey: true }));
  assert.equal(said(sent), '+AltLeft:Alt +KeyL:l -KeyL:l +Digit2:', 'by its place where its own character is not known');
  sent.length = 0;
  k.down(event('MetaLeft', 'Meta', { metaKey: true }));
  assert.equal(said(sent), '+MetaLeft:Meta');
});

test('keys of an input method are not the app\'s', () => {
  const { k, sent, event } = keys();
  for (const e of [event('KeyH', 'Process', { keyCode: 229 }), event('KeyE', 'e', { isComposing: true }), event('', 'Unidentified', { keyCode: 229 })]) {
    k.down(e);
    k.up(e);
    assert.ok(!e.prevented || !e.isComposing);
  }
  const dead = event('Equal', 'Dead', { target: { tagName: 'TEXTAREA' } });
  k.down(dead);
  assert.ok(!dead.prevented, 'the browser puts dead keys together');
  assert.deepEqual(sent, []);
});

test('a modifier whose keyup was lost is let go with the next key', () => {
  const { k, sent, event } = keys();
  const none = { altKey: false, shiftKey: false, ctrlKey: false, metaKey: false };
  k.down(event('AltLeft', 'Alt', { ...none, altKey: true }));
  k.down(event('KeyA', 'a', none));
  assert.equal(said(sent), '+AltLeft:Alt -AltLeft:Alt +KeyA:a');
  sent.length = 0;
  // Windows: AltGr is Control and Alt, and the browser hides them.
  k.down(event('ControlLeft', 'Control', { ...none, ctrlKey: true }));
  k.down(event('AltRight', 'AltGraph', { ...none, getModifierState: (m) => m === 'AltGraph' }));
  k.down(event('KeyQ', '@', { ...none, getModifierState: (m) => m === 'AltGraph' }));
  assert.equal(said(sent), '+ControlLeft:Control +AltRight:AltGraph +KeyQ:@');
});

test('a long text is several messages, and has no control characters', () => {
  const { k, sent } = keys();
  k.text(`a\r\nb\u0007\ud800${'😀'.repeat(150)}`);
  assert.equal(sent.map((m) => m.text).join(''), `a\nb${'😀'.repeat(150)}`);
  assert.ok(sent.every((m) => new TextEncoder().encode(m.text).length <= 512));
});

// mouse drives a Pointer with frames and timers of its own.
function mouse(t, relative) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const had = globalThis.requestAnimationFrame;
  let frames = [];
  globalThis.requestAnimationFrame = (fn) => frames.push(fn);
  t.after(() => { globalThis.requestAnimationFrame = had; });
  const sent = [];
  const sink = { send: (m) => sent.push(['send', m]), move: (m) => sent.push(['move', m]) };
  const pointer = Object.assign(new Pointer({ surface: {}, video: {}, sink }), { relative });
  const said = () => sent.splice(0).map(([way, { t: type, n, x, dx, sum }]) => [way, type, n ?? '', x ?? `${dx ?? ''}/${sum?.[0] ?? ''}`].join(' '));
  const frame = () => {
    t.mock.timers.tick(16);
    const now = frames;
    frames = [];
    now.forEach((fn) => fn());
  };
  return { pointer, said, frame, tick: (ms) => t.mock.timers.tick(ms), rest: () => { for (let n = 0; n < 20; n++) frame(); } };
}

test('the last position goes for sure when the pointer rests, and nothing more while it moves', (t) => {
  const { pointer, said, frame, rest } = mouse(t, false);
  for (let n = 1; n <= 50; n++) {
    pointer.at(n / 100, 0);
    frame();
  }
  const moving = said();
  assert.deepEqual([moving.length, moving.filter((m) => !m.startsWith('move ')).length], [50, 0]);
  rest();
  assert.deepEqual(said(), ['send move 50 0.5'], 'once, with the number that it had');
  pointer.at(0.6, 0);
  pointer.button(true, 0, { x: 0.7, y: 0 });
  rest();
  assert.deepEqual(said(), ['move move 51 0.6', 'send down 51 0.7'], 'a position after the button would undo its own');
});

test('a move that is older than the next one is not sent again, however seldom the page draws', (t) => {
  const { pointer, said, frame, tick } = mouse(t, false);
  pointer.at(0.1, 0);
  tick(60);
  assert.deepEqual(said(), ['move move 1 0.1', 'send move 1 0.1'], 'it rests');
  frame();
  pointer.at(0.2, 0);
  pointer.at(0.3, 0);
  tick(60);
  assert.deepEqual(said(), ['move move 2 0.2'], 'the next one waits for the frame');
  frame();
  tick(60);
  assert.deepEqual(said(), ['move move 3 0.3', 'send move 3 0.3']);
});

test('the last move goes for sure before a key, and once', (t) => {
  const { pointer, said, rest } = mouse(t, false);
  pointer.at(0.1, 0);
  pointer.at(0.2, 0);
  pointer.settle();
  pointer.settle();
  assert.deepEqual(said(), ['move move 1 0.1', 'move move 2 0.2', 'send move 2 0.2'], 'also one that waits for the frame');
  rest();
  pointer.button(true, 0, { x: 0.2, y: 0 });
  pointer.at(0.3, 0);
  pointer.button(false, 0, { x: 0.3, y: 0 });
  pointer.settle();
  assert.deepEqual(said(), ['send down 2 0.2', 'move move 3 0.3', 'send up 3 0.3'], 'a button says it');
});

test('the last motion of a locked mouse goes for sure', (t) => {
  const { pointer, said, frame, rest } = mouse(t, true);
  pointer.by(3, 0);
  frame();
  pointer.by(4, 0);
  rest();
  assert.deepEqual(said(), ['move rel 1 3/3', 'move rel 2 4/7', 'send rel 2 4/7']);
});

test('counts of a locked mouse: a lone spike is dropped, a fast hand is not', () => {
  const play = (moves) => {
    let sum = 0;
    let timer = null;
    const movement = new Movement((dx) => { sum += dx; }, (fn) => { timer = fn; return () => { timer = null; }; });
    moves.forEach((dx, i) => movement.add(dx, 0, i * 8));
    timer?.();
    return sum;
  };
  assert.equal(play([1, 1, 1, 400, 1, 1, 1]), 6);
  assert.equal(play([1, -1, 2, -700]), 2, 'at the end too');
  assert.equal(play(Array(400).fill(1)), 400);
  assert.equal(play([1, 2, 300, 350, 200, 20, 1]), 874, 'a flick');
  assert.equal(play([570, -570, 570]), 570, 'from rest');
  assert.equal(play([19, 57, 190, 190, 114]), 570);
});

// Trackpads and fine wheels, as Chromium reports them.
const px = (delta) => ({ deltaX: 0, deltaY: delta, wheelDeltaX: 0, wheelDeltaY: -3 * delta, deltaMode: 0 });
const rolled = (deltas) => deltas.reduce((sum, d) => sum + notches(px(d)).dy, 0) / 120;

test('wheels: trackpads scroll by their distance, also where it is a multiple of 40', () => {
  assert.ok(rolled([40]) < 0.5);
  const fling = [4, 14, 30, 46, 52, 48, 42, 36, 30, 26, 20, 16, 12, 10, 8, 6]; // 400 px
  assert.ok(rolled(fling) >= 3 && rolled(fling) <= 4.001, `${rolled(fling)} notches`);
  const slow = Array.from({ length: 53 }, (_, i) => 1 + (i % 8)); // 231 px
  assert.ok(rolled(slow) >= 2 && rolled(slow) <= 3);
  assert.deepEqual(notches({ deltaX: 0, deltaY: 3, wheelDeltaY: -120, deltaMode: 1 }), { dx: 0, dy: 120 });
});

test('wheels: a notch is one where the system scrolls by one line, by ten or by a page', () => {
  for (const [deltaY, deltaMode] of [[1, 1], [10, 1], [1, 2]]) {
    assert.deepEqual(notches({ deltaX: 0, deltaY, wheelDeltaY: -120, deltaMode }), { dx: 0, dy: 120 });
  }
  assert.deepEqual(notches({ deltaX: 0, deltaY: 1.5, wheelDeltaY: -30, deltaMode: 1 }), { dx: 0, dy: 30 }, 'a quarter, of six lines');
  assert.deepEqual(notches({ deltaX: 0, deltaY: 0.25, wheelDeltaY: -15, deltaMode: 2 }), { dx: 0, dy: 15 });
});
