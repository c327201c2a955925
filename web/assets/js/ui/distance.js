// distance.js: the distance line: the person at its left end, the sites to the
// right, at the distance of their round trips.

import { ms } from '../words.js';
import { el, setText } from './dom.js';

const SHOWN = 4;

// distanceLine gives {node, update({results, leader, silent})}.
export function distanceLine(w) {
  const rail = el('div.distance-rail', { 'aria-hidden': 'true' }, el('span.distance-you', {}, w.say('distance.you')), el('span.distance-way'));
  const caption = el('p.distance-caption', { 'aria-live': 'polite' }, w.say('distance.measuring'));
  const node = el('div.distance', {}, rail, caption);
  const stops = new Map();

  function update({ results, leader }) {
    const near = Object.entries(results).sort((a, b) => a[1] - b[1]).slice(0, SHOWN);
    if (near.length === 0) return;
    const farthest = Math.max(near.at(-1)[1] * 1.15, near[0][1] * 2, 8);
    // Square root: near sites, between which the choice is, get the most space.
    const place = (rtt) => 14 + 80 * Math.sqrt(rtt / farthest);
    for (const [site, stop] of stops) {
      if (!near.some(([s]) => s === site)) { stop.remove(); stops.delete(site); }
    }
    let before = -Infinity;
    let row = 0;
    for (const [site, rtt] of near) {
      let stop = stops.get(site);
      if (!stop) {
        stop = el('span.distance-stop', {}, el('i'), el('b', {}, site), el('em'));
        stops.set(site, stop);
        rail.append(stop);
      }
      const at = place(rtt);
      row = at - before < 24 ? row + 1 : 0; // names that would touch go a row lower
      before = at;
      stop.style.left = `${at}%`;
      stop.dataset.row = row;
      stop.classList.toggle('near', site === leader);
      setText(stop.lastChild, ms(rtt, w));
      if (site === leader) rail.style.setProperty('--way', `${at}%`);
    }
    rail.dataset.rows = Math.max(...[...stops.values()].map((s) => Number(s.dataset.row)));
    const text = w.say(near.length > 1 ? 'distance.nearest' : 'distance.one', { site: leader, rtt: ms(results[leader], w) });
    // For screen readers: what the line shows.
    caption.classList.add('told');
    setText(caption, text);
  }

  function fail(text) {
    caption.classList.remove('told');
    setText(caption, text);
  }
  return { node, update, fail };
}
