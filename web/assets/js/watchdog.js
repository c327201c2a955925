// watchdog.js: whether the picture still arrives: it pings on the input channel and
// checks whether packets arrive. ICE notices too, but may take five seconds. Collects
// the overlay's numbers as well.

import { flatten, rates, report } from './stats.js';

const PING_MS = 250;
const SAMPLE_MS = 1000;
const REPORT_MS = 5000; // wire.ReportEvery
export const BROKEN_MS = 750;  // neither pong nor packet: look for another way to the seat
export const DOUBT_MS = 1000;   // the same: ask whether the site is there
export const SILENCE_MS = 2500; // the same: the picture is lost
export const RESTART_MS = 3500; // the same, while another way to the seat is looked for
const OFFERED_MS = 5000;        // the same, once the seat has the offer of one
export const HURRY_MS = 500;      // broken, when the device has just said that its network changed
const HURRY_FOR_MS = 5000;

export class Watchdog {
  #peer; #tell; #pinger; #sampler;
  #alive; #ticked;
  #hurried = -Infinity;
  #suspected = -Infinity;
  #pings = new Map();
  #seq = 0;
  #received = Infinity; // unknown: the first look only notes it
  #sample = null;
  #numbers = null; // the latest rates
  #told = null; // the sample with which the last report ended
  #toTell = null; // what the next ping takes along
  #pingMS = null;

  // The callbacks: onDoubt and onTrust as long as there is cause, onBroken where another
  // way should be looked for, restarting() session.js's state of that, onSilence, and onStats with
  // the overlay's numbers.
  constructor(peer, callbacks) {
    this.#peer = peer;
    this.#tell = callbacks;
    this.#alive = this.#ticked = performance.now();
    this.#pinger = setInterval(() => this.#look(), PING_MS);
    this.#sampler = setInterval(() => this.#gather(), SAMPLE_MS);
  }

  stop() {
    clearInterval(this.#pinger);
    clearInterval(this.#sampler);
    this.#peer = null;
  }

  // suspect: ICE reports a broken path, which may recover. Be less patient.
  async suspect() {
    await this.#progress(); // what has come until now
    this.#suspected = performance.now();
    this.#alive = Math.min(this.#alive, this.#suspected - SILENCE_MS / 2);
  }

  // hurry: the device's network has changed, so the way may be gone.
  hurry() {
    this.#hurried = performance.now();
  }

  // silent resolves to whether nothing has arrived for so long.
  async silent(ms) {
    await this.#progress();
    return performance.now() - this.#alive > ms;
  }

  pong(seq) {
    const now = performance.now();
    this.#alive = now;
    const sent = this.#pings.get(seq);
    if (sent === undefined) return;
    this.#pings.delete(seq);
    const rtt = now - sent;
    this.#pingMS = this.#pingMS === null ? rtt : this.#pingMS * 0.8 + rtt * 0.2;
  }

  async stats() {
    await this.#gather();
    return { ...this.#numbers, pingMS: this.#pingMS };
  }

  async #look() {
    const now = performance.now();
    // The device slept, or the tab was paused: give the path a moment.
    if (now - this.#ticked > SILENCE_MS) this.#alive = now;
    // The timers of a hidden tab run once a second. After an answer, nobody owes one until the
    // page asks again.
    if (this.#alive >= this.#ticked) this.#alive = Math.max(this.#alive, now - PING_MS);
    this.#ticked = now;
    this.#pings.set(++this.#seq, now);
    this.#pings.delete(this.#seq - 20);
    this.#peer.send({ t: 'ping', seq: this.#seq, ...(this.#toTell && { report: this.#toTell }) });
    this.#toTell = null;
    const broken = now - this.#hurried < HURRY_FOR_MS ? HURRY_MS : BROKEN_MS;
    if (now - this.#alive > broken / 2) await this.#progress();
    if (!this.#peer) return; // stopped meanwhile
    const silent = now - this.#alive;
    const restarting = this.#tell.restarting();
    if (silent > (restarting ? restarting === 'offered' ? OFFERED_MS : RESTART_MS : SILENCE_MS)) this.#tell.onSilence();
    else if (silent > DOUBT_MS) this.#tell.onDoubt();
    else if (silent < broken) this.#tell.onTrust();
    if (silent > broken) this.#tell.onBroken();
  }

  // #progress looks whether packets come, between two samples.
  async #progress() {
    const report = await this.#report();
    if (report) this.#heard(report);
  }

  #heard({ age, received = 0 }) {
    const now = performance.now();
    const at = age !== undefined ? now - age : received > this.#received ? now : -Infinity;
    if (at > this.#suspected) this.#alive = Math.max(this.#alive, at);
    this.#received = received;
  }

  async #gather() {
    const sample = await this.#report();
    const before = this.#sample;
    if (!sample || before?.at === sample.at) return;
    this.#heard(sample);
    this.#sample = sample;
    if (before || !this.#numbers) this.#numbers = rates(before, sample);
    this.#told ??= sample;
    if (sample.at - this.#told.at >= REPORT_MS) {
      this.#toTell = report(this.#told, sample);
      this.#told = sample;
    }
    this.#tell.onStats({ ...this.#numbers, pingMS: this.#pingMS });
  }

  async #report() {
    const peer = this.#peer;
    if (!peer) return null;
    const report = flatten(await peer.pc.getStats());
    return peer === this.#peer ? report : null;
  }
}
