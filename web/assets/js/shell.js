// shell.js: one player as the person sees it: the picture, the screens before and after it,
// the toolbar and what lies over it. element.js puts it into a page.

import { getApp } from './api.js';
import { Awake } from './awake.js';
import { Hands } from './hands.js';
import { claim, free } from './memory.js';
import { HELD, isOver } from './phases.js';
import { Player } from './player.js';
import { bareEnd, bareScreen, isClosed } from './screens/bare.js';
import { readyScreen } from './screens/ready.js';
import { Stage } from './screens/stage.js';
import { toolbar } from './screens/toolbar.js';
import { waitingScreen } from './screens/waiting.js';
import { banner as makeBanner } from './ui/banner.js';
import { distanceLine } from './ui/distance.js';
import { el, setText } from './ui/dom.js';
import { icon } from './ui/icons.js';
import { picture } from './ui/picture.js';
import { moved, ms, place } from './words.js';

const APP_REFRESH_MS = 5000;
// STILL_MS is how long the page stays as it is after Play: to draw another screen takes the
// processor from the picture that is about to come.
const STILL_MS = 400;

export class Shell {
  // host is the custom element and root its shadow root; src, app, token() and params() are as in
  // player.js; words is a Words of language.js. home is the URL of a page that lists the apps, or ''; hold a session of this
  // browser to go on with. tell(state, before) is called after each change of session.js's state,
  // onStats(numbers) each second of a picture, onApp(app) when more is known of the app, and
  // onShut(problem) where it cannot be launched from here.
  constructor({ host, root, app: id, src, token, params, words, home, hold, tell, onStats, onApp, onShut }) {
    Object.assign(this, { host, root, id, src, token, home, w: words, tell, onStats, onApp, onShut });
    this.later = this.stats = this.helping = null; // later.js, and what it has
    this.app = null;   // wire.AppView, once known
    this.shut = false; // a screen without Play is shown
    this.turn = this.heard = 0; // of refresh: asked, and answered
    this.screen = { kind: '' };
    this.still = 0;
    this.counting = 0;
    this.away = new AbortController();
    this.awake = new Awake();
    this.key = claim(id, src);
    this.touchy = matchMedia('(pointer: coarse)').matches;
    this.stage = new Stage(words.say('surface'));
    this.hands = new Hands({
      host, stage: this.stage, touchy: this.touchy, label: words.say('surface'),
      onChord: (name) => this.#chord(name),
      onClipboard: (why) => this.#during((later) => this.banner.show(...later.clipboardTrouble(why, words))),
      onPaste: () => this.tools.setPaste(this.hands.pastes),
      onMode: () => this.#capture(),
      onFinger: () => this.tools.setTouch(true),
      onLock: (locked) => {
        this.#capture();
        // Where the app gave the mouse back, the person goes on: nothing is released.
        if (!locked && this.hands.pointer.relative) this.hands.keyboard.release();
      },
    });
    this.player = new Player({
      app: id, src, token, params, key: this.key, stage: this.stage, view: () => this.hands.view.now(),
      idle: (site) => this.app?.sites?.[site]?.idle ?? 0, onState: (state, before) => this.#render(state, before),
      onStats: (numbers) => this.#count(numbers),
      onInput: () => this.hands.again(),
      onRumble: (told) => this.hands.shake(told),
      onClip: (told) => this.hands.heard(({ clipboard }) => clipboard.told(told)),
      onChunk: (data) => this.hands.heard(({ link }) => link.heard(data)),
      onPointer: (told) => this.hands.pointer.told(told),
      onRace: (found) => (found.error ? this.distance.fail(words.say(found.error)) : this.distance.update(found)),
    });
    this.hands.join(this.player);
    this.#build(root);
    if (host.hasAttribute('autofocus')) this.hands.engage();
    this.#listen();
    this.#render(this.player.state, null);
    this.player.begin(hold);
    this.refresh().finally(() => this.#with(() => {}));
    this.refreshing = setInterval(() => { if (!this.shut && !document.hidden && this.player.state.phase === 'ready') this.refresh(); }, APP_REFRESH_MS);
  }

  // end takes all of it away; a session ends.
  end() {
    this.away.abort();
    for (const timer of [this.refreshing, this.counting, this.still]) clearTimeout(timer);
    this.awake.end();
    this.hands.end();
    this.player.stop();
    this.helping?.close();
    this.node.remove();
    free(this.key);
  }

  // moved is called when the element stands at another place in its document, which stops picture
  // and sound and takes the focus.
  moved() {
    this.stage.video.play().catch(() => {});
    if (this.stage.audio.srcObject) this.stage.listen();
    if (this.player.state.phase === 'streaming') this.hands.focus();
  }

  #build(root) {
    const { player, w } = this;
    this.distance = distanceLine(w);
    this.backdrop = el('div.backdrop', { part: 'backdrop' });
    this.dock = el('div.dock', { role: 'region', 'aria-label': this.id });
    this.banner = makeBanner(w);
    // The seconds that are left are not read out one by one.
    this.notice = el('div.reconnect', { hidden: true }, el('div.spinner'), el('h2', { role: 'alert' }, w.say('wait.reconnecting')), el('p', { role: 'timer', 'aria-live': 'off' }));
    this.capture = el('div.capture', { hidden: true }, icon('mouse'), el('span', {}, w.say('capture')), el('small', {}, w.say('capture.esc')));
    this.unmute = el('button.unmute', { type: 'button', hidden: true, part: 'button', onclick: () => { this.stage.unlock(); this.hands.focus(); } }, icon('muted'), el('span', {}, w.say('tool.sound')));
    this.tools = toolbar({ title: this.id, actions: this.#actions(), w });
    this.node = el('div.player', { lang: w.lang }, this.stage.node, this.backdrop, el('div.masthead', {}, el('slot', { name: 'brand' })), this.dock,
      this.notice, this.capture, this.unmute, this.tools.node, this.banner.node);
    root.append(this.node);
    const play = () => this.play();
    this.makers = {
      ready: () => readyScreen({ play, resting: player.resting, distance: this.distance.node, w }),
      waiting: () => waitingScreen({ leave: () => player.leave(), why: this.later?.whyDetails(w), w }),
      over: (state) => {
        const actions = { play, takeBack: () => player.takeBack(), w };
        if (this.later) return { ...this.later.endedScreen(state, this.app, { ...actions, hasToken: Boolean(this.token()), src: this.src, home: this.home, id: this.id }), update() {} };
        this.#with(() => {});
        return bareEnd(state, actions);
      },
      none: () => ({ node: el('div'), update() {}, focus() {} }),
    };
    this.stage.onBlocked = (blocked) => {
      this.unmute.hidden = !blocked || player.state.phase === 'ended' || !player.state.grant?.display?.audio;
      this.#sound();
    };
    this.tools.setTouch(this.touchy);
    this.tools.setChoices(this.hands.keyboard.mac ? this.hands.choices : null);
    this.#full();
    this.tools.setSound({ has: false, muted: false });
  }

  #actions() {
    const { hands, player, stage } = this;
    return {
      mute: () => {
        stage.audio.muted = !stage.audio.muted;
        if (!stage.audio.muted) stage.unlock();
        this.#sound();
      },
      volume: (v) => { stage.audio.volume = v; stage.audio.muted = v === 0; this.#sound(); },
      escape: () => hands.keyboard.tap('Escape', 'Escape'),
      closeWindow: () => player.send({ t: 'close' }),
      keyboard: () => hands.touch?.keys.toggle(),
      paste: () => hands.paste(),
      choose: (name) => { hands.choose(name); this.tools.setChoices(hands.choices); },
      stats: () => this.#chord('stats'),
      help: () => this.#help(),
      fullscreen: () => this.fullscreen(),
      end: () => player.leave(),
      refocus: () => hands.focus(),
    };
  }

  #chord(name) {
    switch (name) {
      case 'stats': return this.#during(() => this.tools.setStats(this.stats.toggle()));
      case 'fullscreen': return void this.fullscreen();
      case 'help': return this.#help();
      case 'menu':
        this.hands.unlock();
        return this.tools.focus();
      default: return this.player.leave();
    }
  }

  #listen() {
    const { signal } = this.away;
    this.host.addEventListener('fullscreenchange', () => {
      this.#full();
      if (!this.isFull) navigator.keyboard?.unlock?.();
      if (this.player.state.phase === 'streaming') this.hands.focus();
    }, { signal });
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.player.state.phase === 'streaming') this.awake.begin();
    }, { signal });
    // The person may have closed the tab by mistake. Older browsers ask only for a returnValue.
    window.addEventListener('beforeunload', (event) => {
      const { phase, grant } = this.player.state;
      if (HELD.has(phase) && grant?.confirm_leave) event.returnValue = true;
    }, { signal });
  }

  get isFull() {
    return this.host.matches(':fullscreen');
  }

  play() {
    if (!isOver(this.player.state.phase)) return; // once more, at a page that stays as it is
    this.shut = false;
    this.hands.engage();
    this.stage.unlock(); // a click: sound may play from here on
    clearTimeout(this.still);
    this.still = this.screen.kind === 'ready' ? setTimeout(() => { this.still = 0; this.#render(this.player.state, this.player.state); }, STILL_MS) : 0;
    this.player.play();
  }

  async fullscreen() {
    if (this.isFull) return void document.exitFullscreen();
    try {
      await this.host.requestFullscreen({ navigationUI: 'hide' });
      await navigator.keyboard?.lock?.(); // Alt+Tab, Meta and Esc reach the app too
    } catch {
      // The browser refused; the window stays as it is.
    }
  }

  #full() {
    this.tools.setFull({ can: document.fullscreenEnabled, is: this.isFull });
  }

  // refresh learns of the app, and so whether it may be launched.
  async refresh() {
    const { src, id } = this;
    const turn = ++this.turn;
    const token = this.token();
    // late: a newer answer is there, or one for another token is on its way.
    const late = () => turn < this.heard || token !== this.token();
    try {
      const found = await getApp(id, token, src, this.away.signal);
      if (late()) return;
      this.heard = turn;
      if (!this.app || this.app.picture !== found.picture) this.backdrop.replaceChildren(picture(found, { eager: true, src }));
      this.app = found;
      this.onApp(found);
      this.shut = false;
      this.dock.setAttribute('aria-label', found.title || id);
      this.#render(this.player.state, this.player.state);
    } catch ({ problem }) {
      if (this.away.signal.aborted || late()) return;
      this.heard = turn;
      if (!this.app) this.backdrop.replaceChildren(picture({ id }));
      // A seat that is held needs no launch. If something else is wrong, Play says what.
      if (this.player.state.phase === 'ready' && isClosed(problem, Boolean(this.app))) this.close(problem);
    }
  }

  // close shows a screen without Play: the router's own words until later.js has better ones.
  close(problem) {
    this.shut = true;
    const screen = this.screen = { kind: 'shut', ...bareScreen(problem) };
    this.node.dataset.screen = 'over';
    this.dock.replaceChildren(screen.node);
    this.onShut(problem);
    this.#with(({ closedScreen }) => {
      if (this.screen === screen) this.dock.replaceChildren(closedScreen(problem, Boolean(this.token()), this));
    });
  }

  // #with gives later.js to a function, at once if it is there. If it cannot be loaded, the next one
  // who needs it asks again. Older browsers keep the failure: there only a reload of the page helps.
  #with(use) {
    if (this.later) return void use(this.later);
    this.bringing ??= import('./later.js').then((later) => this.#came(later), (error) => {
      this.bringing = null;
      console.error('nearcast: a part of the player could not be loaded:', error);
    });
    this.bringing.then(() => { if (this.later) use(this.later); });
  }

  // #during is #with for what lies over a picture: it comes too late when that has gone.
  #during(use) {
    this.#with((later) => { if (this.screen.kind === 'none') use(later); });
  }

  #came(later) {
    if (this.away.signal.aborted) return;
    this.later = later;
    later.join(this);
    this.screen.explain?.(later.whyDetails(this.w), this.player.state);
    if (this.screen.kind !== 'over') return;
    this.screen = { kind: '' };
    this.#render(this.player.state, this.player.state);
  }

  // #kind says which screen a state is shown on.
  #kind(state) {
    switch (state.phase) {
      case 'ready': return 'ready';
      case 'streaming': return 'none';
      case 'reconnecting': return state.media === 'lost' ? 'none' : 'waiting';
      // During a move to another site the last picture stays visible.
      case 'launching': case 'connecting': case 'granted':
        if (state.moved && !state.moved.done) return 'none';
        return this.still && this.screen.kind === 'ready' ? 'ready' : 'waiting';
      default: return isOver(state.phase) ? 'over' : 'waiting';
    }
  }

  #render(state, before) {
    const kind = this.#kind(state);
    this.node.dataset.phase = state.phase;
    this.node.dataset.screen = kind;
    if (kind !== this.screen.kind || (kind === 'over' && state.phase !== before?.phase)) {
      this.screen = { kind, ...this.makers[kind](state) };
      // The page around the player may have a screen of its own.
      this.dock.replaceChildren(el('slot', { name: kind === 'over' ? 'ended' : kind }, this.screen.node));
      this.screen.update(state, this.app);
      if (kind !== 'none') this.helping?.close(); // it would give the focus back
      if (this.hands.engaged) this.screen.focus?.();
    } else {
      this.screen.update(state, this.app);
    }
    this.notice.hidden = state.phase === 'streaming' || kind !== 'none';
    if (state.phase !== before?.phase) this.#entered(state, before);
    if (state.windows !== before?.windows) this.tools.setWindows(state.windows);
    if (state.ending && state.ending !== before?.ending) this.#with(({ ending }) => this.banner.show(...ending(state.ending, this.w), state.ending.after_s * 1000));
    if (state.looked && state.looked !== before?.looked) this.#during(({ looked }) => this.banner.show(...looked(this.w)));
    this.tell(state, before);
  }

  // #entered starts and stops input as a phase begins.
  #entered(state, before) {
    if (state.phase === 'granted') this.hands.expect(state.grant.display);
    if (state.phase === 'streaming') {
      this.hands.start(state.grant.display);
      this.tools.setPaste(this.hands.pastes);
      this.tools.setTitle(this.app?.title || this.id);
      this.tools.open();
      this.#sound();
      this.awake.begin();
    } else if (before?.phase === 'streaming') {
      this.hands.stop();
      this.helping?.close();
      this.capture.hidden = this.unmute.hidden = true;
    }
    if (!this.notice.hidden) this.#explain(state);
    if (state.moved?.done && !before?.moved?.done) {
      const { site, predicted_rtt_ms: rtt } = state.launch;
      const values = { from: state.moved.from, to: site, rtt: ms(rtt, this.w) };
      this.banner.show(moved(state.moved, this.w), this.w.say(rtt > 0 ? 'moved.detail' : 'moved.detail.unknown', values));
    }
    if (this.#kind(state) !== 'none') {
      this.banner.hide();
      this.tools.setStats(false);
      this.stats?.reset();
    }
    if (!isOver(state.phase)) return;
    this.awake.end();
    // A page may be in full screen before there is a session.
    if (this.isFull && before && !isOver(before.phase)) document.exitFullscreen();
  }

  // #explain says over the last picture what happens now: how long the seat still
  // waits, or that another site is looked for.
  #explain(state) {
    clearInterval(this.counting);
    const { w } = this;
    const { moved: move } = state;
    const text = this.notice.lastChild;
    setText(this.notice.querySelector('h2'), move ? moved(move, w) : w.say('wait.reconnecting'));
    if (move) {
      setText(text, move.to ? w.say('moved.again', { to: place(move.to, w) }) : w.say('moved.seeking'));
      return;
    }
    const until = state.lostAt + (state.grant.grace_s || 60) * 1000;
    const tell = () => {
      if (this.player.state.phase !== 'reconnecting') return void clearInterval(this.counting);
      const left = Math.max(0, Math.round((until - performance.now()) / 1000));
      setText(text, w.say('wait.grace', { n: left }));
    };
    tell();
    this.counting = setInterval(tell, 1000);
  }

  #capture() {
    const { pointer } = this.hands;
    this.capture.hidden = this.player.state.phase !== 'streaming' || !pointer.relative || pointer.locked || this.touchy;
  }

  #sound() {
    this.tools.setSound({ has: this.player.state.grant?.display?.audio ?? false, muted: this.stage.audio.muted || !this.unmute.hidden });
  }

  #count(numbers) {
    this.stats?.update(numbers, { firstFrameMS: this.player.firstFrameMS, launch: this.player.state.launch });
    this.tools.setRTT(numbers.pingMS ?? numbers.pairMS);
    this.onStats(numbers);
  }

  // #help says what is possible in this session. The app gets its mouse back with a click.
  #help() {
    if (this.player.state.phase !== 'streaming') return;
    this.hands.unlock();
    const [{ mac }, { display, stills }] = [this.hands.keyboard, this.player.state.grant];
    this.#during(({ help }) => this.player.state.phase === 'streaming' && this.helping.toggle(help({
      display, stills, touch: this.touchy, mac, choices: this.hands.choices, w: this.w,
      screen: document.fullscreenEnabled, locks: Boolean(navigator.keyboard?.lock),
    })));
  }
}
