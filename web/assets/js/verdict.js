// verdict.js: the picture has stopped coming. Is it the site, or is it us?
//
// The suspect (the site of the session) is asked, and in parallel a witness:
// the router of another site, nearest first, the next one HEDGE_MS later if it
// is silent too. What they say gives the verdict:
//
//	alive     the suspect answered: its brain will bring the seat back
//	lost      a witness answers, so our own network is fine, and the suspect does
//	          not, though it was asked afresh after that; sooner where the witness
//	          knows the site to be unhealthy
//	waiting   nobody has said anything (yet): with our own network gone there is
//	          nothing to do but wait for it
//
// Inquiry is the pure core: it is told what happened and when, and says whom to
// ask. inquire() is the part that asks.

export const HEDGE_MS = 300;    // a silent witness: ask the next one too
export const CONFIRM_MS = 600;  // a witness stands: how long the suspect may be silent
export const UNHEALTHY_MS = 250; // the same where the witness knows it to be unhealthy
export const AGAIN_MS = 1000;   // everybody was asked in vain: from the start
const SLEPT_MS = 2500;          // between two looks: the machine slept

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

  // witnesses are names, the one to ask first at the front; rtt is the way to the suspect in ms.
  constructor(suspect, witnesses, { rtt = 0, now }) {
    this.#suspect = suspect;
    this.#witnesses = witnesses;
    this.#rtt = rtt;
    this.#looked = now;
  }

  // due names those who are to be asked at now; to call is to have asked.
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

  // answered: somebody spoke. healthy is what they say of the suspect:
  // undefined where they know nothing of it.
  answered(name, now, healthy) {
    if (name === this.#suspect) {
      this.#alive = true;
      return;
    }
    this.#heard ??= now;
    if (healthy === false) this.#sick = true;
  }

  // failed: somebody cannot be asked: the next witness need not wait.
  failed(name) {
    if (name !== this.#suspect && this.#turn % this.#witnesses.length !== 0) this.#lastTurn = -Infinity;
  }

  verdict(now) {
    if (this.#alive) return 'alive';
    if (this.#fresh === null) return 'waiting';
    const patience = Math.max(this.#sick ? UNHEALTHY_MS : CONFIRM_MS, 3 * this.#rtt);
    return now - this.#fresh >= patience ? 'lost' : 'waiting';
  }

  // What was heard before a sleep says nothing of now.
  #forget() {
    this.#heard = this.#fresh = null;
    this.#sick = false;
    this.#lastTurn = -Infinity;
    this.#asked.clear();
  }
}

const LOOK_MS = 50;
const ANSWER_MS = 2000;

// inquire asks until there is a verdict, and calls back once with it and how long
// it took. ask(name, signal) resolves to what that one says of the suspect's
// health, and rejects where it does not answer; onWitness is called with the
// first witness that does. The function returned ends it.
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
