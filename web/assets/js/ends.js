// ends.js: how a session begins, ends, and begins again. Pure, as session.js.

import { relaunch as relaunchAfter } from './reconnect.js';

const MAX_RELAUNCHES = 4;

export function initial(app) {
  return {
    phase: 'ready', app,
    launch: null, grant: null, queue: null, progress: null,
    signal: 'closed', // closed | opening | open
    media: 'none',    // none | live | lost
    offered: false,   // the seat has, or is getting, the offer of the present peer
    prepared: false,  // Play was pressed, of what was prepared before it
    urls: [], turn: 0,
    restarting: '',  // '' | asking | offered: another way to the seat is looked for (restart.js)
    relaying: false, // the next peer may use the grant's TURN servers
    failures: 0, relaunches: 0, mediaTries: 0,
    crowd: false,     // no brain has said anything for a while
    asked: false,     // a brain of this launch was full
    said: false,      // a brain has had the ticket
    before: null,     // the brains that could be asked before that
    awayAt: 0,        // when a waiting person's brain was lost; 0 while there is one
    placeLost: false, // the place in the queue could not be kept
    lostAt: 0, reloaded: false,
    end: null, problem: null, notice: '',
    windows: 0, // of the app, that can be closed one after the other
    ending: null, // what will end the session soon
    lost: [],    // sites that were lost under this session: not to be chosen again
    moved: null, // {from, to, at, done, back}: the last of them, and the way back to it
  };
}

// relaunch asks the router again: the chosen brain is gone, or the ticket is.
export function relaunch(s, problem) {
  const relaunches = s.relaunches + 1;
  if (relaunches > MAX_RELAUNCHES) return refuse(s, problem);
  return [
    { ...initial(s.app), phase: 'launching', relaunches, lost: s.lost, moved: s.moved, placeLost: s.placeLost },
    [...tidy(s), { do: 'prepare' }, { do: 'timer', name: 'relaunch', ...relaunchAfter(relaunches) }],
  ];
}

// The last picture stays visible during a move to another site.
export const tidy = (s) => [{ do: 'cancel' }, { do: 'closeSignal' }, { do: 'closePeer', keep: Boolean(s?.moved && !s.moved.done) }];

export function over(s, end) {
  return [{ ...s, phase: 'ended', end, signal: 'closed', media: 'none' },
    [...tidy(), { do: 'forget' }, { do: 'prepare' }]];
}

export function refuse(s, problem) {
  return [{ ...s, phase: 'refused', problem, signal: 'closed', media: 'none' },
    [...tidy(), { do: 'forget' }, { do: 'prepare' }]];
}
