// play.js: the entry point of play.html: the page that is one player, for the app that its
// address names. All else is the element's (element.js).

import { Holding, heldSession } from './held.js';
import { NearcastPlayer, inside } from './element.js';
import { languageOf } from './language.js';
import { HELD, isOver } from './phases.js';
import { Login } from './login.js';
import { paramsOf } from './params.js';
import { takeToken, tokenOf } from './token.js';
import { wordmark } from './ui/logo.js';

const id = decodeURIComponent(location.pathname.replace(/^\/play\//, '').replace(/\/$/, ''));
const element = new NearcastPlayer();
const shell = () => inside(element);
const state = () => shell()?.player.state ?? { phase: 'ready' };
const holding = new Holding(id);

takeToken(id);
element.token = tokenOf(id);
element.home = '/';
element.lang = document.documentElement.lang = languageOf(navigator.languages);
element.setAttribute('autofocus', '');
if (location.hash === '#resume') {
  element.hold = heldSession(id);
  history.replaceState(history.state, '', location.pathname + location.search);
}
const brand = wordmark();
brand.slot = 'brand';
element.append(brand);

element.watch = (now, before) => {
  hold(now, before);
  if (now.phase !== before?.phase) title(now);
};
element.first = (detail) => window.dispatchEvent(new CustomEvent('nearcast:firstframe', { detail }));
document.querySelector('#player').append(element);
const show = () => { element.app = id; };
// A link with a launch token is stronger than a login.
const login = tokenOf(id) ? null : new Login(id, element);
element.params = paramsOf(location.search); // after a login, which may have to bring them back
if (login?.expected) login.begin().finally(show);
else show();

// hold tells the browser's other pages of the session that this one holds.
function hold(now, before) {
  const held = HELD.has(now.phase) && now.grant;
  if (held && now.grant !== before?.grant) holding.start(now, shell()?.app?.title);
  else if (held) return;
  else if (now.phase === 'replaced') holding.stop(); // the other page has it
  else if (before && HELD.has(before.phase)) holding.end();
}

function title({ phase }) {
  const name = shell()?.app?.title || id;
  document.title = phase === 'streaming' ? `${name} · Nearcast` : `${name} · Play on Nearcast`;
}

// A page that embeds this one says that Play is about to be pressed, or is not any more: as if a
// pointer rested on Play (docs/API.md). The router's frame-ancestors decide who may embed it.
window.addEventListener('message', ({ source, data }) => {
  if (source !== window.parent) return;
  if (data?.nearcast === 'prepare') element.prepare();
  if (data?.nearcast === 'unprepare') element.unprepare();
});

window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

// Another link to the same app, opened in this tab: begin again with its token.
window.addEventListener('hashchange', () => {
  if (takeToken(id) && isOver(state().phase)) location.reload();
});

// What tests and benches look at; see web.go.
window.nearcast = {
  get state() { return state().phase; },
  get firstFrameMS() { return shell()?.player.firstFrameMS ?? null; },
  get marks() { return { ...shell()?.player.marks.at }; },
  get playedAt() {
    const at = shell()?.player.marks.playAt;
    return at === undefined ? null : performance.timeOrigin + at;
  },
  get prepared() { return shell()?.player.resting.ready() ?? false; },
  get seat() { return state().grant?.seat ?? ''; },
  get connected() { return state().signal === 'open'; },
  get site() { return state().launch?.site ?? ''; },
  get race() {
    const race = shell()?.player.race;
    return race && { leader: race.leader(), results: race.results(), decidedMS: race.decidedMS, rounds: race.rounds, probed: race.probed };
  },
  get candidates() { return state().launch?.candidates ?? []; },
  get messages() { return shell()?.player.messages; },
  get moves() { return [...shell()?.player.moves ?? []]; },
  get restarts() { return [...shell()?.player.way.found ?? []]; },
  stats: () => shell()?.player.stats(),
};
