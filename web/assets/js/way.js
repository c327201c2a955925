// way.js: carries out what restart.js decides: tries whether the network carries a new
// socket, and notes how long each search for another way to the seat took.

export class Way {
  #state; #watchdog; #dispatch; #signals;
  #brokenAt = 0;
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

  // ask tries a new socket, while the old one stays.
  ask(url) {
    const watchdog = this.#watchdog();
    this.#signals.cool();
    this.#signals.warm(url, {
      onOpen: async () => {
        // Meanwhile the old way may work again.
        if (await watchdog?.silent() && watchdog === this.#watchdog()) this.#dispatch({ type: 'way-open' });
        else this.#signals.cool();
      },
      onClose: () => this.#dispatch({ type: 'way-shut' }),
    });
  }
}
