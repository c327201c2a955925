// restart.js: another way to the seat, when nothing arrives by the present one: the
// person's address has changed, or a router on the way forgot them. Pure, as session.js.
//
//	'' → asking    a new socket to a brain is tried. The old one may have lost its way
//	               too; and if none opens, the network itself is down
//	asking → offered   it is open: through it, the seat gets an offer that restarts ICE
//	any → ''       packets arrive, by whichever way; or the picture is given up as lost
//
// The peer connection stays, with all that it holds. A seat that cannot keep its end
// answers so, and the page makes a new one.

export const ASK_AGAIN_MS = 250;

export const restarts = {
  // Nothing arrives from the seat.
  broken(s) {
    if (s.phase !== 'streaming' || s.restarting) return null;
    return [{ ...s, restarting: 'asking' }, ask(s)];
  },

  // A new socket is open.
  'way-open'(s) {
    if (s.restarting !== 'asking') return null;
    return [{ ...s, restarting: 'offered', signal: 'opening' }, [
      { do: 'cancel', name: 'resignal' }, { do: 'closeSignal' },
      { do: 'signal', url: urlOf(s), hello: { resume: s.grant.resume }, restart: true }]];
  },

  'way-shut'(s) {
    return s.restarting === 'asking' ? [s, [{ do: 'timer', name: 'ask', ms: ASK_AGAIN_MS }]] : null;
  },

  // Something arrives.
  healed(s) {
    return s.restarting ? [settled(s), [{ do: 'cancel', name: 'ask' }]] : null;
  },
};

// askAgain tries the next brain.
export function askAgain(s) {
  if (s.restarting !== 'asking') return null;
  const next = { ...s, turn: s.turn + 1 };
  return [next, ask(next)];
}

export const settled = (s) => (s.restarting ? { ...s, restarting: '' } : s);

// The old socket is asked too.
const ask = (s) => [{ do: 'send', message: { type: 'ping' } }, { do: 'ask', url: urlOf(s) }];

const urlOf = (s) => s.urls[s.turn % s.urls.length];
