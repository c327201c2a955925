// way.js: carries out what restart.js decides: tries whether the network carries a new
// socket, and notes how long each search for another way to the seat took.

import { HURRY_MS } from './watchdog.js';

const CUT_MS = 2250; // how long a way may be cut until another one is looked for
const PONG_MS = 100; // what the old socket may take longer than the new one

export class Way {
  #state; #watchdog; #dispatch; #signals;
  #brokenAt = 0;
  answered = false; // the old socket leads to the seat
  found = []; // ms from each doubt to the first packet on another way

  constructor({ state, watchdog, dispatch, signals }) {
    this.#state = state;
    this.#watchdog = watchdog;
    this.#dispatch = dispatch;
    this.#signals = signals;
  }

  // broken: nothing arrives. It is called as long as that is so.
  broken() {
    if (!this.#state().restarting) this.#brokenAt = performance.now();
    this.#dispatch({ type: 'broken' });
  }

  // suspect: ICE has lost the way, and says so before the silence is long.
  async suspect() {
    await this.#watchdog()?.suspect();
    this.broken();
  }

  // trust: something arrives.
  trust() {
    const { restarting } = this.#state();
    if (restarting === 'offered') this.found.push(Math.round(performance.now() - this.#brokenAt));
    if (restarting) this.#dispatch({ type: 'healed' });
  }

  // ask tries a new socket, while the old one stays. Where the old one answers sooner, the person's address is what
  // it was: a way that is cut for a moment works again by itself, and at once. A restart leaves it for good, and
  // a browser tries a new one only about once a second while it does not work.
  ask(url) {
    const watchdog = this.#watchdog();
    this.answered = false;
    this.#signals.cool();
    this.#signals.warm(url, {
      onOpen: () => setTimeout(async () => {
        // Meanwhile the old way may work again.
        const open = await watchdog?.silent(this.answered ? CUT_MS : HURRY_MS) && watchdog === this.#watchdog();
        if (!open) this.#signals.cool();
        this.#dispatch({ type: open ? 'way-open' : 'way-shut' });
      }, PONG_MS),
      onClose: () => this.#dispatch({ type: 'way-shut' }),
    });
  }
}
