// resting.js: what is done before Play is pressed, while the pointer rests on it. The page
// launches, and asks the brain for a seat that is to spare (prepare, in
// internal/wire/signal.go): the connection with it comes up, and Play shows a stream that
// is there. The seat is kept for five seconds. Where anything fails, nobody is told, and
// Play is what it is without this.

import { brainsOf } from './brains.js';

export const REST_MS = 100; // a pointer that only passes costs nothing
const LINGER_MS = 300; // a finger leaves the button before its click comes
const MAX_A_MINUTE = 6;

export class Resting {
  // The hooks: signals are the player's Signals, can() whether Play may be pressed, brain() the likely brain's URL, spare() whether
  // seats are likely to spare, launch() a promise of a wire.LaunchResponse, peer() the present
  // Peer, fresh() has a new one made, view() a wire.View or null.
  constructor(hooks) {
    this.hooks = hooks;
    this.now = null; // what is being prepared
    this.begun = []; // when, of late
    this.timer = 0;
    this.lingering = 0;
    this.over = false;
  }

  // anticipate is called when Play is about to be pressed: to connect to the likely brain
  // takes longer than to press a button.
  anticipate() {
    if (this.hooks.can() && !this.now) this.hooks.signals.warm(this.hooks.brain());
  }

  // rest is called when and while a pointer, or the keyboard's focus, is at Play.
  rest() {
    clearTimeout(this.lingering);
    this.anticipate();
    if (this.over || this.timer || this.now || !this.hooks.can() || !this.hooks.spare()) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.#begin();
    }, REST_MS);
  }

  // unrest is called when it leaves.
  unrest() {
    clearTimeout(this.timer);
    this.timer = 0;
    clearTimeout(this.lingering);
    this.lingering = setTimeout(() => this.drop(), LINGER_MS);
  }

  // take gives what there is to the one who presses Play, or null: {launching}, a promise of
  // a launch or of null; and where that has come, {launch, signal, grant, answered} and play(to),
  // which says so to the brain, and has to = {onMessage, onClose} called from then on.
  take() {
    clearTimeout(this.timer);
    clearTimeout(this.lingering);
    this.timer = 0;
    const { now } = this;
    this.now = null;
    return now;
  }

  // drop gives up what was prepared.
  drop(now = this.now) {
    if (!now || now !== this.now) return;
    this.now = null;
    now.signal?.send({ type: 'leave' });
    now.signal?.close();
    if (now.shipped && !this.over) this.hooks.fresh();
  }

  // end is called once, when the player is shown no more.
  end() {
    this.over = true;
    clearTimeout(this.timer);
    clearTimeout(this.lingering);
    this.drop();
  }

  // ready reports whether Play would show a stream that is there.
  ready() { return Boolean(this.now?.grant) && this.hooks.peer().pc.connectionState === 'connected'; }

  candidate(candidate) { this.now?.signal?.send({ type: 'candidate', candidate }); }

  async #begin() {
    const at = performance.now();
    this.begun = this.begun.filter((t) => at - t < 60_000);
    if (this.now || !this.hooks.can() || this.begun.length >= MAX_A_MINUTE) return;
    this.begun.push(at);
    const now = this.now = { launch: null, signal: null, grant: null, answered: false, shipped: false, to: null };
    now.launching = this.hooks.launch().catch(() => null);
    const launch = await now.launching;
    if (now !== this.now) return; // taken: the launch goes on from there; or dropped
    if (!launch) return void this.drop(now);
    now.launch = launch;
    const peer = this.hooks.peer();
    peer.setServers(launch.ice_servers ?? []);
    let told = false;
    now.play = (to) => {
      now.to = to;
      if (told) now.signal.send({ type: 'play' });
    };
    now.shipped = true;
    now.signal = this.hooks.signals.open(brainsOf(launch)[0], {
      onOpen: async () => {
        const sdp = await peer.offer();
        now.signal.send({ type: 'prepare', ticket: launch.ticket, sdp, view: this.hooks.view() ?? undefined });
        told = true;
        if (now.to) now.signal.send({ type: 'play' });
      },
      onMessage: (message) => (now.to ? now.to.onMessage(message) : this.#heard(now, peer, message)),
      onClose: (event) => (now.to ? now.to.onClose(event) : this.drop(now)),
    });
    this.hooks.signals.cool(); // another site than the likely one
  }

  #heard(now, peer, message) {
    switch (message.type) {
      case 'granted': now.grant = message.grant; break;
      case 'answer':
        now.answered = true;
        peer.answer(message.sdp).catch(() => this.drop(now));
        break;
      case 'candidate': void peer.candidate(message.candidate); break;
      case 'unprepared': now.none = true; break; // with Play it is an ordinary launch
      case 'ended': case 'refused': this.drop(now); break;
      default:
    }
  }
}
