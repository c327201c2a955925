// player.js: carries out the effects of session.js. It owns the socket, the peer
// and the timers, measures the sites, and reports events to the state machine.
// Screens subscribe; the stage shows what the peer receives.

import { unreachable } from './api.js';
import { Asks, LAUNCH_HEDGE_MS } from './asks.js';
import { SiteWatch } from './sitewatch.js';
import { Marks } from './marks.js';
import * as memory from './memory.js';
import { Messages } from './messages.js';
import { Peer } from './peer.js';
import { pick } from './reconnect.js';
import { Resting } from './resting.js';
import { Routers } from './routers.js';
import { Signals } from './signal.js';
import { isOver } from './phases.js';
import { DIRECT_MS, initial, reduce } from './session.js';
import { survey } from './survey.js';
import { HEDGE_MS } from './verdict.js';
import { Timers } from './timers.js';
import { Watchdog } from './watchdog.js';
import { Way } from './way.js';
import { moved as movedWords } from './words.js';

const RACE_PATIENCE_MS = 200; // Play pressed before the race was decided
const RACE_STALE_MS = 300_000; // people move with their devices

export class Player {
  // src is the origin of the router, '' that of the page; token() the launch token, or ''; params()
  // what the page sets of the app's parameters; key names what survives a reload (memory.js).
  // stage has show(track), freeze() and clear(); onState is called after each change.
  // view() is the person's window, a wire.View or null; idle(site) how many seats are idle there.
  constructor({ app, src = '', token = () => '', params = () => null, key = app, stage, view = () => null, idle = () => 0, onState = () => {}, onStats = () => {}, onRace = () => {}, onInput = () => {}, onPointer = () => {}, onClip = () => {}, onChunk = () => {}, onRumble = () => {} }) {
    Object.assign(this, { app, src, key, stage, view, onState, onStats, onRace, onInput, onPointer, onClip, onChunk, onRumble });
    this.state = initial(app);
    this.queue = [];
    this.timers = new Timers((name) => this.dispatch({ type: 'timer', name }));
    this.servers = []; // STUN, of the launch
    this.relays = [];  // TURN, of the grant; used once the direct path has failed
    this.signal = null;
    this.generation = 0;
    this.gone = new AbortController(); // the player is shown no more
    this.signals = new Signals();
    this.routers = new Routers(src);
    this.race = null;
    this.racedAt = -Infinity;
    this.moves = []; // {from, to, ms}: sites that were lost under a session
    this.asks = new Asks({ app, routers: this.routers, race: () => this.race, token, params });
    this.marks = new Marks();
    this.messages = new Messages({ store: memory.messages(key) }); // send(), onMessage
    this.watchdog = null; // while a picture is held
    stage.onFrame = (now, frame) => this.marks.drawn(now, frame);
    const dispatch = (event) => this.dispatch(event);
    this.way = new Way({ state: () => this.state, watchdog: () => this.watchdog, dispatch, signals: this.signals });
    this.siteWatch = new SiteWatch({
      routers: this.routers, state: () => this.state, launchRequest: (lost) => this.asks.request(lost),
      token, dispatch,
    });
    this.resting = new Resting({
      signals: this.signals, can: () => isOver(this.state.phase), view, spare: () => idle(this.race?.leader()) > 1,
      brain: () => this.routers.get(this.race?.leader())?.brain,
      launch: () => this.asks.launch(), peer: () => this.peer, fresh: () => this.#prepare(),
    });
    this.#prepare();
  }

  // begin is called once, when the player is shown: returns to a seat that it held before the
  // page was reloaded, or to the one that is given, else gets ready for Play.
  begin(held = null) {
    const { signal } = this.gone;
    const again = () => { if (isOver(this.state.phase)) this.measure(); this.watchdog?.hurry(); };
    window.addEventListener('online', () => { this.dispatch({ type: 'wake', online: true }); again(); }, { signal });
    navigator.connection?.addEventListener?.('change', again, { signal });
    window.addEventListener('focus', () => this.#refresh(), { signal });
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return;
      this.dispatch({ type: 'wake' });
      this.#refresh();
    }, { signal });
    const saved = memory.recall(this.key) ?? held;
    if (saved) {
      this.marks.begin();
      this.dispatch({ type: 'saved', saved, now: performance.now() });
    }
    return this.measure();
  }

  // stop is called once, when the player is shown no more: a session that it has ends.
  stop() {
    this.gone.abort();
    this.racing?.abort();
    this.resting.end();
    this.siteWatch.stop();
    this.timers.cancel();
    this.#unwatch();
    if (!isOver(this.state.phase)) {
      this.signal?.send({ type: 'leave' });
      memory.forget(this.key);
    }
    this.#closeSignal();
    this.signals.cool();
    this.peer.close();
    this.messages.live = false; // no phase follows
    this.stage.clear();
  }

  // measure finds out how far the sites are.
  async measure() {
    this.racing?.abort();
    const racing = this.racing = new AbortController();
    this.racedAt = performance.now();
    try {
      const response = await this.asks.sites();
      if (racing.signal.aborted) return;
      // There is room for 250, and each probe is read from there. In a page of others they are not ours.
      if (!this.src) performance.clearResourceTimings();
      const race = survey(response, this.app, {
        signal: racing.signal, onChange: () => queueMicrotask(() => tell()),
        ask: (request) => this.asks.probes(request),
      });
      const tell = () => {
        if (!racing.signal.aborted && race.leader()) this.onRace({ results: race.results(), leader: race.leader() });
      };
      this.race = race;
      await race.decided;
      this.routers.measured(race.results());
      await race.all;
      this.routers.measured(race.results());
      tell();
      if (!race.leader() && !racing.signal.aborted) {
        this.onRace({ error: 'distance.silent' });
      }
    } catch {
      // Without measurements the router uses its own.
      if (!racing.signal.aborted) this.onRace({ error: 'distance.failed' });
    }
  }

  // #refresh repeats an old measurement, but not during a session.
  #refresh() {
    if (isOver(this.state.phase) && performance.now() - this.racedAt > RACE_STALE_MS) this.measure();
  }

  play() {
    this.resting.anticipate();
    this.marks.begin();
    this.#refresh();
    this.dispatch({ type: 'play' });
  }

  leave() {
    this.dispatch({ type: 'leave' });
  }

  takeBack() {
    this.dispatch({ type: 'takeBack', now: performance.now() });
  }

  // The sink of the input modules.
  send(input) {
    if (this.state.phase === 'streaming') this.peer.send(input);
  }

  move(input) {
    return this.state.phase === 'streaming' ? this.peer.move(input) : undefined;
  }

  dispatch(event) {
    if (this.gone.signal.aborted) return;
    this.queue.push(event);
    if (this.queue.length > 1) return; // an effect of the event in hand caused this one
    while (this.queue.length > 0) {
      const [state, effects] = reduce(this.state, this.queue[0]);
      const before = this.state;
      this.state = state;
      for (const effect of effects) this.#carryOut(effect);
      if (state !== before) {
        this.#follow(state, before);
        this.onState(state, before);
      }
      this.queue.shift();
    }
  }

  get firstFrameMS() { return this.marks.firstFrameMS; }

  async stats() {
    const { site, predicted_rtt_ms: predictedMS, rtt_source: source } = this.state.launch ?? {};
    return {
      ...await this.watchdog?.stats(), firstFrameMS: this.firstFrameMS,
      site: site ?? '', predictedMS: predictedMS ?? null, source: source ?? '',
    };
  }

  #carryOut(effect) {
    switch (effect.do) {
      case 'launch': return void this.#launch();
      case 'ice':
        this.servers = effect.servers;
        return this.peer.setServers(effect.servers);
      case 'relays': return void (this.relays = effect.servers);
      case 'signal': return this.#openSignal(effect);
      case 'ask': return this.way.ask(effect.url);
      case 'send': return this.signal?.send(effect.message);
      case 'closeSignal': return this.#closeSignal();
      case 'prepare': return this.#prepare();
      case 'offer': return void this.#offer();
      case 'answer':
        // Where it fails, the next attempt makes a new offer; the console says why.
        return void this.peer.answer(effect.sdp).catch((error) => console.warn('nearcast:', error));
      case 'candidate': return void this.peer.candidate(effect.candidate);
      case 'closePeer':
        this.#unwatch();
        if (effect.keep) this.stage.freeze();
        this.peer.close();
        return effect.keep ? undefined : this.stage.clear();
      case 'timer': return this.timers.set(effect.name, pick(effect));
      case 'cancel': return this.timers.cancel(effect.name);
      case 'renew': return void this.#renew();
      case 'brains': return void this.#findBrains(effect.site);
      case 'remember': return memory.remember(this.key, { grant: this.state.grant, urls: this.state.urls, site: this.state.launch?.site });
      case 'forget': return memory.forget(this.key);
      default: throw new Error(effect.do); // no such effect
    }
  }

  async #launch() {
    const { lost, moved } = this.state;
    const rested = this.resting.take();
    if (rested?.signal) return void this.#takeOver(rested);
    try {
      await Promise.race([this.race?.decided, new Promise((r) => { setTimeout(r, RACE_PATIENCE_MS); })]);
      if (this.gone.signal.aborted) return;
      const routers = moved ? this.routers.order({ without: lost }) : this.routers.homeFirst({ without: lost });
      const launch = await rested?.launching ?? await this.siteWatch.launched(lost) ?? await this.asks.launch(lost, routers, moved ? HEDGE_MS : LAUNCH_HEDGE_MS);
      this.marks.set('launched');
      this.dispatch({ type: 'launched', launch });
    } catch (error) {
      this.dispatch({ type: 'launch-failed', problem: error.problem ?? unreachable(), now: performance.now() });
    }
  }

  // #takeOver goes on with what was prepared before Play.
  #takeOver({ launch, signal, grant, answered, play, none }) {
    if (this.state.phase !== 'launching') return signal.close();
    this.servers = launch.ice_servers ?? [];
    this.#closeSignal();
    this.signal = signal;
    play(this.#ears());
    this.dispatch({ type: 'launched', launch, prepared: true });
    this.dispatch({ type: 'signal-open' });
    if (none) this.dispatch({ type: 'message', message: { type: 'unprepared' }, now: performance.now() });
    if (grant) this.dispatch({ type: 'message', message: { type: 'granted', grant }, now: performance.now() });
    if (answered && this.relays.length > 0 && this.peer.pc.connectionState !== 'connected') this.timers.set('direct', DIRECT_MS);
  }

  #openSignal({ url, hello, offer, restart }) {
    this.#closeSignal();
    const { current, ...ears } = this.#ears();
    const signal = this.signals.open(url, {
      ...ears,
      onOpen: async () => {
        const message = { type: 'hello', ...hello };
        if (offer) message.sdp = await this.peer.offer();
        if (restart) Object.assign(message, { sdp: await this.peer.restart([...this.servers, ...this.relays]), restart });
        if (offer && this.view()) message.view = this.view();
        if (!current()) return;
        this.marks.set('signalOpen');
        signal.send(message);
        this.dispatch({ type: 'signal-open' });
      },
    });
    this.signal = signal;
    this.signals.cool(); // another site than the likely one
  }

  // #ears hear a socket until there is another one.
  #ears() {
    const generation = ++this.generation, at = performance.now();
    const current = () => generation === this.generation;
    return {
      current,
      onMessage: (message) => {
        if (!current()) return;
        if (message.type === 'pong') this.way.patience = performance.now() - at;
        if (message.type === 'granted' || message.type === 'answer') this.marks.set(message.type);
        this.dispatch({ type: 'message', message, now: performance.now() });
      },
      onClose: ({ code, opened }) => {
        if (!current()) return;
        this.signal = null;
        this.dispatch({ type: 'signal-closed', code, opened, now: performance.now() });
      },
    };
  }

  #closeSignal() {
    this.generation += 1;
    this.signal?.close();
    this.signal = null;
  }

  // #prepare makes a fresh peer, its offer under way, in place of the present one.
  #prepare() {
    this.#unwatch();
    this.peer?.close();
    const peer = new Peer({
      onTrack: (track) => this.stage.show(track, () => { if (this.peer === peer) this.#firstFrame(); }),
      onCandidate: (candidate) => (this.signal ? this.signal.send({ type: 'candidate', candidate }) : this.resting.candidate(candidate)),
      onState: (state) => {
        if (state === 'connected') this.marks.set('connected');
        if (state === 'failed' || state === 'closed') this.#lost(state === 'failed');
        if (state === 'disconnected') this.way.suspect();
      },
      onPath: (found) => this.dispatch({ type: 'path', found }),
      onInput: () => this.onInput(),
      onClip: (clip) => this.onClip(clip), onChunk: (data) => this.onChunk(data), onRumble: (rumble) => this.onRumble(rumble),
      onMessages: () => this.#meet(), onMessage: (data) => this.messages.heard(data),
      onPointer: (pointer) => this.onPointer(pointer),
      onPong: (seq) => this.watchdog?.pong(seq),
    }, this.state.relaying ? [...this.servers, ...this.relays] : this.servers);
    this.peer = peer;
  }

  async #offer() {
    this.#prepare();
    const { peer } = this;
    const sdp = await peer.offer();
    if (peer === this.peer) this.signal?.send({ type: 'offer', sdp, view: this.view() ?? undefined });
  }

  async #renew() {
    const { launch, lost } = this.state;
    try {
      const renewal = await this.asks.renew(launch, lost);
      if (this.state.launch?.session === launch.session) this.dispatch({ type: 'renewed', ticket: renewal.ticket });
    } catch (error) {
      if (this.state.launch?.session === launch.session) this.dispatch({ type: 'renew-failed', problem: error.problem });
    }
  }

  async #findBrains(site) {
    try {
      const urls = await this.asks.brains(site, { lost: this.state.lost, waiting: this.state.awayAt > 0 });
      if (urls.length > 0) this.dispatch({ type: 'brains', urls });
    } catch { /* the brains already known are tried again */ }
  }

  #firstFrame() {
    this.marks.firstFrame();
    this.dispatch({ type: 'media-live' });
    this.#watch();
  }

  #watch() {
    this.watchdog?.stop();
    this.watchdog = new Watchdog(this.peer, {
      onDoubt: () => this.siteWatch.doubt(),
      onTrust: () => { this.siteWatch.trust(); this.way.trust(); },
      onBroken: () => this.way.broken(),
      restarting: () => this.state.restarting,
      onSilence: () => this.#lost(),
      onStats: this.onStats,
    });
  }

  #unwatch() { this.watchdog?.stop(); this.watchdog = null; }

  #lost(failed = false) {
    if (this.state.phase !== 'streaming') return;
    this.#unwatch();
    this.stage.freeze();
    this.dispatch({ type: 'media-lost', now: performance.now(), failed });
  }

  // #meet lets page and app speak: not before Play.
  #meet() { if (this.state.phase === 'streaming') this.messages.open(this.peer.messageChannel, this.state.grant?.session); }

  // #follow does what belongs to a phase, whatever led to it.
  #follow(state, before) {
    const { phase, moved } = state;
    if (!isOver(phase)) this.resting.drop(); // the page goes on without Play
    this.messages.live = !isOver(phase);
    this.#meet();
    this.siteWatch.follow(state, before.phase);
    if (moved?.done && !before.moved?.done) {
      const ms = Math.round(performance.now() - moved.at);
      this.moves.push({ from: moved.from, to: moved.to, ms });
      console.info('nearcast:', movedWords(moved), ms, 'ms');
    }
    if (phase !== before.phase && isOver(phase)) this.#refresh();
  }
}
