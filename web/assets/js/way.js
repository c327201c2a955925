// way.js: carries out what restart.js decides: tries whether the network carries a new
// socket, and notes how long each search for another way to the seat took.

import { HURRY_MS } from './watchdog.js';

const CUT_MS = 2250; // how long a way may be cut until another one is looked for
const PONG_MS = 100; // what the old socket may take longer than the new one

export class Way {
  #brokenAt = 0;
  #turn = 0; // of ask
  patience = HURRY_MS; // for how long nothing may come until another way is looked for
  found = []; // ms from each doubt to the first packet on another way

  // The hooks: state() is session.js's, watchdog() the present one or null, dispatch(event), and signals a Signals.
  constructor(hooks) {
    Object.assign(this, hooks);
  }

  // broken: nothing arrives. It is called as long as that is so.
  broken() {
    if (!this.state().restarting) this.#brokenAt = performance.now();
    this.dispatch({ type: 'broken' });
  }

  // suspect: ICE has lost the way, and says so before the silence is long.
  async suspect() {
    await this.watchdog()?.suspect();
    this.broken();
  }

  // trust: something arrives.
  trust() {
    const { restarting } = this.state();
    if (restarting === 'offered') this.found.push(Math.round(performance.now() - this.#brokenAt));
    if (restarting) this.dispatch({ type: 'healed' });
  }

  // ask tries a new socket, while the old one stays. Where the old one answers sooner, the person's address is what
  // it was: a way that is cut for a moment works again by itself, and at once. A restart leaves it for good, and
  // a browser tries a new one only about once a second while it does not work.
  ask(url) {
    const watchdog = this.watchdog(), turn = ++this.#turn;
    this.patience = HURRY_MS;
    this.signals.cool();
    this.signals.warm(url, {
      onOpen: () => setTimeout(async () => {
        if (turn !== this.#turn) return;
        // Meanwhile the old way may work again.
        const open = await watchdog?.silent(Math.min(this.patience, CUT_MS)) && watchdog === this.watchdog();
        if (!open) this.signals.cool();
        this.dispatch({ type: open ? 'way-open' : 'way-shut' });
      }, PONG_MS),
      onClose: () => this.dispatch({ type: 'way-shut' }),
    });
  }
}
