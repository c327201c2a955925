// play.js: the entry point of play.html: connects the player, its screens and the
// person's input.

import { getApp } from './api.js';
import { Holding } from './held.js';
import { Player } from './player.js';
import { HELD, isOver } from './phases.js';
import { choose, recallChoices } from './input/choices.js';
import { Clipboard } from './input/clipboard.js';
import { ClipLink } from './input/cliplink.js';
import { Gamepads } from './input/gamepads.js';
import { Keyboard, isMac } from './input/keyboard.js';
import { Pointer } from './input/pointer.js';
import { TextField } from './input/text.js';
import { Touch } from './input/touch.js';
import { help } from './help.js';
import { endedScreen } from './screens/ended.js';
import { helpView } from './screens/helpview.js';
import { closedScreen, missingScreen, readyScreen } from './screens/ready.js';
import { Stage } from './screens/stage.js';
import { statsView } from './screens/statsview.js';
import { toolbar } from './screens/toolbar.js';
import { waitingScreen } from './screens/waiting.js';
import { banner as makeBanner } from './ui/banner.js';
import { distanceLine } from './ui/distance.js';
import { el, setText } from './ui/dom.js';
import { icon } from './ui/icons.js';
import { wordmark } from './ui/logo.js';
import { picture } from './ui/picture.js';
import { takeToken, tokenOf } from './token.js';
import { View } from './view.js';
import { clipboardTrouble, closed, ending, moved, ms, place } from './words.js';

const APP_REFRESH_MS = 5000;

const id = decodeURIComponent(location.pathname.replace(/^\/play\//, '').replace(/\/$/, ''));
const root = document.querySelector('#player');
const touchy = matchMedia('(pointer: coarse)').matches;
let app = null; // wire.AppView, once known

const stage = new Stage();
const distance = distanceLine();
const backdrop = el('div.backdrop');
const dock = el('main.dock');
const stats = statsView();
const helping = helpView({ onClose: () => actions.refocus() });
const banner = makeBanner();
const notice = el('div.reconnect', { role: 'alert', hidden: true }, el('div.spinner'), el('h2', {}, 'Reconnecting'), el('p'));
const capture = el('div.capture', { hidden: true }, icon('mouse'), el('span', {}, 'Click to give the app your mouse'), el('small', {}, 'Esc releases it'));
const unmute = el('button.unmute', { type: 'button', hidden: true }, icon('muted'), el('span', {}, 'Sound on'));
const field = el('textarea.typing', { autocapitalize: 'off', autocomplete: 'off', spellcheck: false, tabIndex: -1, 'aria-label': 'The app. It has the keyboard. Control Alt Shift M opens the menu.', rows: 1 });
stage.surface.append(field);

const view = new View(stage.surface);
const holding = new Holding(id);

const player = new Player({
  app: id, stage, view: () => view.now(), idle: (site) => app?.sites?.[site]?.idle ?? 0, onState: render,
  onStats: (numbers) => {
    stats.update(numbers, { firstFrameMS: player.firstFrameMS, launch: player.state.launch });
    tools.setRTT(numbers.pingMS ?? numbers.pairMS);
  },
  onInput: () => { clipLink.reset(); askPointer(); view.again(); gamepads.begin(); },
  onRumble: (told) => gamepads.rumble(told),
  onClip: (told) => clipboard.told(told),
  onChunk: (data) => clipLink.heard(data),
  onPointer: (told) => pointer.told(told),
  onRace: (found) => (found.error ? distance.fail(found.error) : distance.update(found)),
});

const choices = recallChoices();
const clipLink = new ClipLink({ channel: () => player.peer?.clipChannel ?? null });
const clipboard = new Clipboard({ surface: stage.surface, sink: player, link: clipLink, mac: isMac(), onTrouble: (why) => banner.show(...clipboardTrouble(why)) });
const keyboard = new Keyboard({ surface: stage.surface, sink: player, onChord: (name) => chords[name](), choices, clipboard });
const text = new TextField({ surface: stage.surface, field, keyboard, touchy });
const pointer = new Pointer({
  surface: stage.surface, video: stage.video, sink: player, onLock: locked, onMode: mode, draws: !touchy,
  onUse: (event) => {
    keyboard.ready(event);
    clipboard.flush();
    if (event.type !== 'mousedown') return;
    text.place(event);
    text.focus();
  },
});
const gamepads = new Gamepads({ sink: player });
const touch = new Touch({ surface: stage.surface, pointer, sink: player });

const actions = {
  mute() {
    stage.audio.muted = !stage.audio.muted;
    if (!stage.audio.muted) stage.unlock();
    showSound();
  },
  volume(v) { stage.audio.volume = v; stage.audio.muted = v === 0; showSound(); },
  escape() { keyboard.tap('Escape', 'Escape'); },
  closeWindow() { player.send({ t: 'close' }); },
  keyboard() { text.toggle(); },
  async paste() { if (await clipboard.read()) keyboard.paste(); },
  choose(name) { keyboard.release(); choose(choices, name); tools.setChoices(choices); },
  stats() { tools.setStats(stats.toggle()); },
  help: showHelp,
  fullscreen: toggleFullscreen,
  end() { player.leave(); },
  refocus() { text.focus(); },
};
const tools = toolbar({ title: id, actions });
const chords = {
  stats: actions.stats,
  fullscreen: actions.fullscreen,
  help: actions.help,
  menu() { document.exitPointerLock?.(); tools.focus(); },
  quit: actions.end,
};

root.append(stage.node, backdrop, el('header.masthead', {}, wordmark()), dock, notice, capture, unmute, tools.node, stats.node, banner.node, helping.node);

let screen = { kind: '', node: null };
const makers = {
  ready: () => readyScreen({ play, resting: player.resting, distance: distance.node }),
  waiting: () => waitingScreen({ leave: () => player.leave() }),
  over: (state) => ({ ...endedScreen(state, app, { play, takeBack: () => player.takeBack() }), update() {} }),
  none: () => ({ node: el('div'), update() {}, focus() {} }),
};

// STILL_MS is how long the page stays as it is after Play: to draw another screen takes the
// processor from the picture that is about to come.
const STILL_MS = 400;
let still = 0; // its timer

function play() {
  if (!isOver(player.state.phase)) return; // once more, at a page that stays as it is
  stage.unlock(); // a click: sound may play from here on
  clearTimeout(still);
  still = screen.kind === 'ready' ? setTimeout(() => { still = 0; render(player.state, player.state); }, STILL_MS) : 0;
  player.play();
}

// kindOf says which screen a state is shown on.
function kindOf(state) {
  switch (state.phase) {
    case 'ready': return 'ready';
    case 'streaming': return 'none';
    case 'reconnecting': return state.media === 'lost' ? 'none' : 'waiting';
    // During a move to another site the last picture stays visible.
    case 'launching': case 'connecting': case 'granted':
      if (state.moved && !state.moved.done) return 'none';
      return still && screen.kind === 'ready' ? 'ready' : 'waiting';
    case 'ended': case 'refused': case 'replaced': return 'over';
    default: return 'waiting';
  }
}

function render(state, before) {
  const kind = kindOf(state);
  root.dataset.phase = state.phase;
  root.dataset.screen = kind;
  if (kind !== screen.kind || (kind === 'over' && state.phase !== before?.phase)) {
    screen = { kind, ...makers[kind](state) };
    dock.replaceChildren(screen.node);
    screen.update(state, app);
    screen.focus?.();
  } else {
    screen.update(state, app);
  }
  notice.hidden = !(state.phase !== 'streaming' && kind === 'none');
  if (state.phase !== before?.phase) entered(state, before);
  if (state.windows !== before?.windows) tools.setWindows(state.windows);
  hold(state, before);
  if (state.ending && state.ending !== before?.ending) banner.show(...ending(state.ending), state.ending.after_s * 1000);
}

// hold tells the browser's other pages of the session that this one holds.
function hold(state, before) {
  const held = HELD.has(state.phase) && state.grant;
  if (held && state.grant !== before?.grant) holding.start(state);
  else if (held) return;
  else if (state.phase === 'replaced') holding.stop(); // the other page has it
  else if (before && HELD.has(before.phase)) holding.end();
}

// The person may have closed the tab by mistake.
window.addEventListener('beforeunload', (event) => {
  const { phase, grant } = player.state;
  if (HELD.has(phase) && grant?.confirm_leave) event.preventDefault();
});

// entered starts and stops input as a phase begins.
function entered(state, before) {
  if (state.phase === 'streaming') {
    const display = state.grant.display;
    clipboard.mode = display.clipboard || 'none';
    tools.setPaste(clipboard.takes);
    keyboard.start();
    pointer.start(display);
    view.start(display, (now) => player.send({ t: 'view', view: now }));
    askPointer();
    mode();
    touch.start(display);
    if (display.gamepads) gamepads.start();
    tools.setTitle(app?.title || id);
    tools.open();
    showSound();
    actions.refocus();
    keepAwake();
  } else if (before?.phase === 'streaming') {
    keyboard.stop();
    pointer.stop();
    view.stop();
    touch.stop();
    gamepads.stop();
    helping.close();
    capture.hidden = unmute.hidden = true;
  }
  if (!notice.hidden) explain(state);
  if (state.moved?.done && !before?.moved?.done) {
    const { site, predicted_rtt_ms: rtt } = state.launch;
    banner.show(moved(state.moved), `${state.moved.from} → ${site}${rtt > 0 ? `, ${ms(rtt)} away` : ''}`);
  }
  if (kindOf(state) !== 'none') {
    banner.hide();
    stats.node.hidden = true;
    tools.setStats(false);
    stats.reset();
    if (document.fullscreenElement) document.exitFullscreen();
  }
  document.title = state.phase === 'streaming' ? `${app?.title || id} · Nearcast` : `${app?.title || id} · Play on Nearcast`;
}

// explain says over the last picture what happens now: how long the seat still
// waits, or that another site is looked for.
let counting;
function explain(state) {
  clearInterval(counting);
  const { moved: move } = state;
  setText(notice.querySelector('h2'), move ? moved(move) : 'Reconnecting');
  if (move) {
    setText(notice.lastChild, move.to ? `Starting again at ${place(move.to)}.` : 'Finding another site for you.');
    return;
  }
  const until = state.lostAt + (state.grant.grace_s || 60) * 1000;
  const tell = () => {
    if (player.state.phase !== 'reconnecting') return void clearInterval(counting);
    const left = Math.max(0, Math.round((until - performance.now()) / 1000));
    setText(notice.lastChild, `The app is still running. It waits ${left} s longer for you.`);
  };
  tell();
  counting = setInterval(tell, 1000);
}

function locked(is) {
  capture.hidden = is || player.state.phase !== 'streaming' || !pointer.relative || touchy;
  if (!is) keyboard.release();
}

// mode follows what the app wants of the mouse.
function mode() {
  keyboard.raw = pointer.relative;
  stage.surface.classList.toggle('absolute', !pointer.relative);
  capture.hidden = !pointer.relative || pointer.locked || touchy;
  actions.refocus();
}

// askPointer asks the seat for the app's cursor. A finger has none: then it stays in
// the picture, as in that of a page that never asks.
function askPointer() {
  if (player.state.phase === 'streaming') player.send({ t: 'cursor', ...(pointer.draws && { p: true }) });
}

function showSound() {
  tools.setSound({ has: player.state.grant?.display?.audio ?? false, muted: stage.audio.muted || !unmute.hidden });
}

stage.onBlocked = (blocked) => {
  unmute.hidden = !blocked || player.state.phase === 'ended' || !player.state.grant?.display?.audio;
  showSound();
};
unmute.addEventListener('click', () => { stage.unlock(); actions.refocus(); });

// showHelp says what is possible in this session. The app gets its mouse back with a click.
function showHelp() {
  if (player.state.phase !== 'streaming') return;
  document.exitPointerLock?.();
  const screen = document.fullscreenEnabled;
  helping.toggle(help({
    display: player.state.grant.display, touch: touchy, mac: keyboard.mac, choices, screen, locks: Boolean(navigator.keyboard?.lock),
  }));
}

async function toggleFullscreen() {
  if (document.fullscreenElement) return void document.exitFullscreen();
  try {
    await root.requestFullscreen({ navigationUI: 'hide' });
    await navigator.keyboard?.lock?.(); // Alt+Tab, Meta and Esc reach the app too
  } catch {
    // The browser refused; the window stays as it is.
  }
}
document.addEventListener('fullscreenchange', () => {
  tools.setFull({ can: document.fullscreenEnabled, is: Boolean(document.fullscreenElement) });
  if (!document.fullscreenElement) navigator.keyboard?.unlock?.();
  if (player.state.phase === 'streaming') actions.refocus();
});

// A person may watch for minutes without any input: keep the screen on.
let awake = null;
async function keepAwake() {
  try {
    if (!awake || awake.released) awake = await navigator.wakeLock?.request('screen');
  } catch {
    // The screen may then dim as usual.
  }
}
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && player.state.phase === 'streaming') keepAwake();
});

// A page that embeds this one says that Play is about to be pressed, or is not any more: as if a
// pointer rested on Play (docs/API.md). The router's frame-ancestors decide who may embed it.
window.addEventListener('message', ({ source, data }) => {
  if (source !== window.parent || player.state.phase !== 'ready') return;
  if (data?.nearcast === 'prepare') player.resting.rest();
  if (data?.nearcast === 'unprepare') player.resting.unrest();
});

window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

// What tests and benches look at; see web.go.
window.nearcast = {
  get state() { return player.state.phase; },
  get firstFrameMS() { return player.firstFrameMS; },
  get marks() { return { ...player.marks.at }; },
  get playedAt() { return player.marks.playAt === undefined ? null : performance.timeOrigin + player.marks.playAt; },
  get messages() { return player.messages; },
  get prepared() { return player.resting.ready(); },
  get seat() { return player.state.grant?.seat ?? ''; },
  get connected() { return player.state.signal === 'open'; },
  get site() { return player.state.launch?.site ?? ''; },
  get race() {
    const { race } = player;
    return race && { leader: race.leader(), results: race.results(), decidedMS: race.decidedMS, rounds: race.rounds, probed: race.probed };
  },
  get candidates() { return player.state.launch?.candidates ?? []; },
  get moves() { return [...player.moves]; },
  get restarts() { return [...player.way.found]; },
  stats: () => player.stats(),
};

async function loadApp() {
  try {
    const found = await getApp(id, tokenOf(id));
    if (!app || app.picture !== found.picture) backdrop.replaceChildren(picture(found, { eager: true }));
    app = found;
    render(player.state, player.state);
  } catch ({ problem }) {
    if (!app) backdrop.replaceChildren(picture({ id }));
    // A seat that is held needs no launch. If something else is wrong, Play says what.
    if (player.state.phase !== 'ready') return;
    const words = closed(problem, Boolean(tokenOf(id)));
    if (words) leaveReady(closedScreen(words));
    else if (!app && problem?.type?.endsWith('/unknown-app')) leaveReady(missingScreen(id));
  }
}

// leaveReady shows a screen without Play.
let gone = false;
function leaveReady(node) {
  gone = true;
  root.dataset.screen = 'over';
  dock.replaceChildren(node);
}

// Another link to the same app, opened in this tab: begin again with its token.
window.addEventListener('hashchange', () => {
  if (takeToken(id) && isOver(player.state.phase)) location.reload();
});

tools.setTouch(touchy);
tools.setChoices(keyboard.mac ? choices : null);
tools.setFull({ can: document.fullscreenEnabled, is: false });
tools.setSound({ has: false, muted: false });
takeToken(id);
render(player.state, null);
player.begin();
loadApp();
setInterval(() => { if (!gone && !document.hidden && player.state.phase === 'ready') loadApp(); }, APP_REFRESH_MS);
