// player.js: carries out what session.js asks for: it owns the socket, the peer,
// the timers and the watchdog, and feeds what happens back to the state machine.
// Screens subscribe; the stage shows what the peer receives.

import * as api from './api.js';
import * as memory from './memory.js';
import * as race from './race.js';
import { Peer } from './peer.js';
import { openSignal } from './signal.js';
import { flatten, rates } from './stats.js';
import { initial, reduce } from './session.js';

const RACE_PATIENCE_MS = 200; // Play pressed before the race was decided
const PING_MS = 500;
const SAMPLE_MS = 1000;
const SILENCE_MS = 2500; // neither pong nor packet: the picture is lost
const BRAINS_EVERY_MS = 5000;

export class Player {
  // stage has show(track), freeze() and clear(); onState is called after each change.
  constructor({ app, stage, onState = () => {}, onStats = () => {}, onRace = () => {} }) {
    Object.assign(this, { app, stage, onState, onStats, onRace });
    this.state = initial(app);
    this.queue = [];
    this.timers = new Map();
    this.servers = [];
    this.signal = null;
    this.generation = 0;
    this.race = null;
    this.askedBrains = -Infinity;
    this.marks = {};
    this.firstFrameMS = null;
    this.numbers = null; // the latest rates
    this.pingMS = null;
    this.#prepare();
  }

  // begin is called once, when the page is shown: returns to a seat the page
  // held before it was reloaded, else gets ready for Play.
  begin() {
    window.addEventListener('online', () => this.dispatch({ type: 'wake' }));
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.dispatch({ type: 'wake' }); });
    const saved = memory.recall(this.app);
    if (saved) {
      this.playAt = performance.now();
      this.dispatch({ type: 'saved', saved, now: performance.now() });
    }
    return this.measure();
  }

  // measure races the sites that have the app, and warms the way to the nearest.
  async measure() {
    try {
      const { sites } = await api.listSites();
      const healthy = (sites ?? []).filter((s) => s.healthy && s.beacon_url);
      const having = healthy.filter((s) => s.apps && this.app in s.apps);
      const running = having.length > 0 ? having : healthy;
      const tell = () => this.onRace({ results: this.race.results(), leader: this.race.leader() });
      this.race = race.run(running, { onChange: () => queueMicrotask(tell) });
      await this.race.decided;
      preconnect(running.find((s) => s.site === this.race.leader())?.brain_url);
      await this.race.all;
      if (this.race.leader()) tell();
      else this.onRace({ error: 'No site answered the measurement; the service will choose.' });
    } catch {
      // Without numbers the router places by its own knowledge.
      this.onRace({ error: 'The distance to the sites could not be measured.' });
    }
  }

  play() {
    this.playAt = performance.now();
    this.marks = {};
    this.firstFrameMS = null;
    performance.mark('nearcast:play');
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
    if (this.state.phase === 'streaming') this.peer.move(input);
  }

  dispatch(event) {
    this.queue.push(event);
    if (this.queue.length > 1) return; // an effect of the event in hand caused this one
    while (this.queue.length > 0) {
      const [state, effects] = reduce(this.state, this.queue[0]);
      const before = this.state;
      this.state = state;
      for (const effect of effects) this.#carryOut(effect);
      if (state !== before) this.onState(state, before);
      this.queue.shift();
    }
  }

  mark(name) {
    if (this.playAt === undefined || this.marks[name] !== undefined) return;
    this.marks[name] = Math.round((performance.now() - this.playAt) * 10) / 10;
    performance.mark(`nearcast:${name}`);
  }

  async stats() {
    await this.#sample();
    return { ...this.numbers, pingMS: this.pingMS, firstFrameMS: this.firstFrameMS, site: this.state.launch?.site ?? '' };
  }

  #carryOut(effect) {
    switch (effect.do) {
      case 'launch': return void this.#launch();
      case 'ice':
        this.servers = effect.servers;
        return this.peer.setServers(effect.servers);
      case 'signal': return this.#openSignal(effect);
      case 'send': return this.signal?.send(effect.message);
      case 'closeSignal': return this.#closeSignal();
      case 'prepare': return this.#prepare();
      case 'offer': return void this.#offer();
      case 'answer': return void this.#answer(effect.sdp);
      case 'candidate': return void this.peer.candidate(effect.candidate);
      case 'closePeer':
        this.#unwatch();
        this.peer.close();
        return this.stage.clear();
      case 'timer': return this.#setTimer(effect.name, effect.ms);
      case 'cancel': return this.#cancel(effect.name);
      case 'renew': return void this.#renew();
      case 'brains': return void this.#findBrains(effect.site);
      case 'remember': return memory.remember(this.app, {
        grant: this.state.grant, urls: this.state.urls, site: this.state.launch?.site });
      case 'forget': return memory.forget(this.app);
      default: throw new Error(`no such effect: ${effect.do}`);
    }
  }

  async #launch() {
    try {
      await Promise.race([this.race?.decided, new Promise((r) => { setTimeout(r, RACE_PATIENCE_MS); })]);
      const launch = await api.launch({ app: this.app, rtt_ms: this.race?.results() ?? {} });
      this.mark('launched');
      this.dispatch({ type: 'launched', launch });
    } catch (error) {
      this.dispatch({ type: 'launch-failed', problem: error.problem ?? api.unreachable() });
    }
  }

  #openSignal({ url, hello, offer }) {
    this.#closeSignal();
    const generation = ++this.generation;
    const current = () => generation === this.generation;
    const signal = openSignal(url, {
      onOpen: async () => {
        const message = { type: 'hello', ...hello };
        if (offer) message.sdp = await this.peer.offer();
        if (!current()) return;
        this.mark('signalOpen');
        signal.send(message);
        this.dispatch({ type: 'signal-open' });
      },
      onMessage: (message) => {
        if (!current()) return;
        if (message.type === 'granted' || message.type === 'answer') this.mark(message.type);
        this.dispatch({ type: 'message', message, now: performance.now() });
      },
      onClose: ({ code, opened }) => {
        if (!current()) return;
        this.signal = null;
        this.dispatch({ type: 'signal-closed', code, opened });
      },
    });
    this.signal = signal;
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
      onCandidate: (candidate) => this.signal?.send({ type: 'candidate', candidate }),
      onState: (state) => {
        if (state === 'connected') this.mark('connected');
        if (state === 'failed' || state === 'closed') this.#lost();
        if (state === 'disconnected') this.#suspect();
      },
      onPong: (seq) => this.#pong(seq),
    }, this.servers);
    this.peer = peer;
  }

  async #offer() {
    this.#prepare();
    const { peer } = this;
    const sdp = await peer.offer();
    if (peer === this.peer) this.signal?.send({ type: 'offer', sdp });
  }

  async #answer(sdp) {
    try {
      await this.peer.answer(sdp);
    } catch (error) {
      // The next try makes a new offer; the console keeps why this one failed.
      console.warn('nearcast: the answer was not accepted:', error);
    }
  }

  async #renew() {
    const { session, ticket } = this.state.launch;
    try {
      const renewal = await api.renewTicket(session, ticket);
      if (this.state.launch?.session === session) this.dispatch({ type: 'renewed', ticket: renewal.ticket });
    } catch {
      this.dispatch({ type: 'renew-failed' });
    }
  }

  async #findBrains(site) {
    if (!site || performance.now() - this.askedBrains < BRAINS_EVERY_MS) return;
    this.askedBrains = performance.now();
    try {
      const { sites } = await api.listSites();
      const urls = (sites ?? []).filter((s) => s.site === site && s.brain_url).map((s) => s.brain_url);
      if (urls.length > 0) this.dispatch({ type: 'brains', urls });
    } catch {
      // The brains already known are tried again.
    }
  }

  #setTimer(name, ms) {
    this.#cancel(name);
    this.timers.set(name, setTimeout(() => {
      this.timers.delete(name);
      this.dispatch({ type: 'timer', name });
    }, ms));
  }

  #cancel(name) {
    for (const [n, id] of this.timers) {
      if (name !== undefined && n !== name) continue;
      clearTimeout(id);
      this.timers.delete(n);
    }
  }

  #firstFrame() {
    if (this.firstFrameMS === null && this.playAt !== undefined) {
      this.mark('firstFrame');
      this.firstFrameMS = this.marks.firstFrame;
      window.dispatchEvent(new CustomEvent('nearcast:firstframe', { detail: { ms: this.firstFrameMS, marks: this.marks } }));
    }
    this.dispatch({ type: 'media-live' });
    this.#watch();
  }

  // The watchdog: pings on the input channel, and looks whether packets come.
  #watch() {
    this.#unwatch();
    this.alive = this.ticked = performance.now();
    this.pings = new Map();
    this.seq = 0;
    this.watcher = setInterval(() => this.#look(), PING_MS);
    this.sampler = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  #unwatch() {
    clearInterval(this.watcher);
    clearInterval(this.sampler);
    this.sample = this.numbers = this.pingMS = null;
  }

  #look() {
    const now = performance.now();
    // The machine slept, or the tab was held: give the path a moment to speak.
    if (now - this.ticked > SILENCE_MS) this.alive = now;
    this.ticked = now;
    this.pings.set(++this.seq, now);
    if (this.pings.size > 20) this.pings.delete(this.pings.keys().next().value);
    this.peer.send({ t: 'ping', seq: this.seq });
    if (now - this.alive > SILENCE_MS) this.#lost();
  }

  #pong(seq) {
    const now = performance.now();
    this.alive = now;
    const sent = this.pings?.get(seq);
    if (sent === undefined) return;
    this.pings.delete(seq);
    const rtt = now - sent;
    this.pingMS = this.pingMS === null ? rtt : this.pingMS * 0.7 + rtt * 0.3;
  }

  async #sample() {
    const { peer } = this;
    if (peer.closed) return;
    const sample = flatten(await peer.pc.getStats());
    if (peer !== this.peer || peer.closed) return;
    const before = this.sample;
    if (before && before.at === sample.at) return;
    if (before && (sample.packets > before.packets || sample.received > before.received)) this.alive = performance.now();
    this.sample = sample;
    if (before || !this.numbers) this.numbers = rates(before, sample);
    this.onStats({ ...this.numbers, pingMS: this.pingMS });
  }

  // ICE says that the path is broken; it may heal by itself. Be less patient.
  #suspect() {
    if (this.alive !== undefined) this.alive = Math.min(this.alive, performance.now() - SILENCE_MS / 2);
  }

  #lost() {
    if (this.state.phase !== 'streaming') return;
    this.#unwatch();
    this.stage.freeze();
    this.dispatch({ type: 'media-lost', now: performance.now() });
  }
}

// preconnect resolves the brain's name and opens its TLS before Play needs it.
function preconnect(brainURL) {
  if (!brainURL) return;
  const link = document.createElement('link');
  link.rel = 'preconnect';
  link.href = new URL(brainURL.replace(/^ws/, 'http')).origin;
  document.head.append(link);
}
