// bare.js: the screens of an end, and of an app that is closed, until later.js has the words for them.

import { el } from '../ui/dom.js';

// isClosed says whether a problem is one for which the app cannot be launched from here; known that the
// app was seen before: then it is not one that does not exist.
export const isClosed = (problem, known) => /\/(launch-(token|expired)|login(-groups)?)$/.test(problem?.type) || (!known && /\/unknown-app$/.test(problem?.type));

// bareScreen has title and detail of a wire.Problem, as the router says them, and a button if it has a
// label.
export function bareScreen({ title, detail } = {}, label = '', onclick = null) {
  const button = label ? el('button.primary', { type: 'button', onclick, part: 'button' }, label) : null;
  const node = el('section.panel', { role: 'status', part: 'panel' },
    title ? el('h1', { part: 'title' }, title) : null, detail ? el('p.lead', { part: 'text' }, detail) : null,
    button ? el('div.actions', {}, button) : null);
  return { node, update() {}, focus: () => button?.focus({ preventScroll: true }) };
}

// bareEnd is the screen of a phase that is over: what was refused, or what another page goes on with.
export function bareEnd({ phase, problem }, { play, takeBack, w }) {
  if (phase === 'replaced') return bareScreen({}, w.say('play.here'), takeBack);
  return bareScreen(phase === 'refused' ? problem : {}, w.say('play.start'), play);
}
