// verdict.js: the picture has stopped. Is the site lost, or our own network?
//
// The page asks the suspect (the site of the session) and, in parallel, a witness:
// the router of another site, the nearest first, the next one HEDGE_MS later if
// that is silent too. Their answers give the verdict:
//
//	alive     the suspect answered: its brain will find the seat again
//	lost      a witness answers, so our own network works, and the suspect does not,
//	          although it was asked again after that; sooner where the witness says
//	          that the site is unhealthy
//	waiting   nobody has answered (yet): while our own network is gone, only wait
//
// Inquiry is the pure core: it takes what happened and when, and says which to
// ask. inquire() is the part that asks.

export const HEDGE_MS = 300;    // a witness is silent: ask the next one too
export const CONFIRM_MS = 600;  // a witness has answered: how long the suspect may be silent
export const UNHEALTHY_MS = 250; // the same where the witness says that it is unhealthy
export const AGAIN_MS = 1000;   // nobody answered: start again
const SLEPT_MS = 2500;          // between two looks: the device slept

export class Inquiry {
  #suspect; #rtt; #witnesses;
  #asked = new Map();  // name → when, the last time
  #heard = null;       // when the first witness answered
  #fresh = null;       // when the suspect was first asked after that
  #sick = false;
  #alive = false;
  #turn = 0;
  #lastTurn = -Infinity;
  #looked;

  // witnesses are names, the first to ask at the front; rtt is the round trip to the suspect in ms.
  constructor(suspect, witnesses, { rtt = 0, now }) {
    this.#suspect = suspect;
    this.#witnesses = witnesses;
    this.#rtt = rtt;
    this.#looked = now;
  }

  // due returns the names to ask now, and counts them as asked.
  due(now) {
    if (now - this.#looked > SLEPT_MS) this.#forget();
    this.#looked = now;
    const out = [];
    const last = this.#asked.get(this.#suspect) ?? -Infinity;
    const stale = this.#heard !== null && this.#fresh === null;
    if (stale || now - last >= AGAIN_MS / 2) {
      out.push(this.#suspect);
      if (stale) this.#fresh = now;
    }
    if (this.#heard === null && this.#witnesses.length > 0) {
      const round = this.#turn > 0 && this.#turn % this.#witnesses.length === 0;
      if (now - this.#lastTurn >= (round ? AGAIN_MS : HEDGE_MS)) {
        out.push(this.#witnesses[this.#turn % this.#witnesses.length]);
        this.#turn += 1;
        this.#lastTurn = now;
      }
    }
    for (const name of out) this.#asked.set(name, now);
    return out;
  }

  // answered notes an answer. healthy is what it says of the suspect, undefined where
  // it says nothing.
  answered(name, now, healthy) {
    if (name === this.#suspect) {
      this.#alive = true;
      return;
    }
    this.#heard ??= now;
    if (healthy === false) this.#sick = true;
  }

  // failed notes that one cannot be asked: the next witness need not wait.
  failed(name) {
    if (name !== this.#suspect && this.#turn % this.#witnesses.length !== 0) this.#lastTurn = -Infinity;
  }

  verdict(now) {
    if (this.#alive) return 'alive';
    if (this.#fresh === null) return 'waiting';
    const patience = Math.max(this.#sick ? UNHEALTHY_MS : CONFIRM_MS, 3 * this.#rtt);
    return now - this.#fresh >= patience ? 'lost' : 'waiting';
  }

  // Answers from before a sleep are out of date.
  #forget() {
    this.#heard = this.#fresh = null;
    this.#sick = false;
    this.#lastTurn = -Infinity;
    this.#asked.clear();
  }
}

const LOOK_MS = 50;
const ANSWER_MS = 2000;

// inquire asks until there is a verdict, and calls onVerdict once with it and how
// long it took. ask(name, signal) resolves to what that one says of the suspect's
// health, and rejects where it does not answer; onWitness is called with the first
// witness that answers. The returned function ends the inquiry.
export function inquire({ suspect, witnesses, rtt, ask, onVerdict, onWitness = () => {} }) {
  const started = performance.now();
  const inquiry = new Inquiry(suspect, witnesses, { rtt, now: started });
  const control = new AbortController();
  let witnessed = false;
  const look = () => {
    if (control.signal.aborted) return;
    const now = performance.now();
    const verdict = inquiry.verdict(now);
    if (verdict !== 'waiting') {
      stop();
      onVerdict(verdict, now - started);
      return;
    }
    for (const name of inquiry.due(now)) question(name);
  };
  const question = async (name) => {
    const one = new AbortController();
    const give = () => one.abort();
    const patience = setTimeout(give, ANSWER_MS);
    control.signal.addEventListener('abort', give, { once: true });
    try {
      const healthy = await ask(name, one.signal);
      if (control.signal.aborted) return;
      inquiry.answered(name, performance.now(), healthy);
      if (name !== suspect && !witnessed) {
        witnessed = true;
        onWitness(name);
      }
    } catch {
      inquiry.failed(name);
    }
    clearTimeout(patience);
    control.signal.removeEventListener('abort', give);
    look();
  };
  const timer = setInterval(look, LOOK_MS);
  const stop = () => {
    clearInterval(timer);
    control.abort();
  };
  look();
  return stop;
}
