// statsview.js: the overlay of numbers, with the round trip of the last minute
// as a line.

import { source } from '../later/words.js';
import { ms } from '../words.js';
import { el, setText, svg } from '../ui/dom.js';
import { whyDetails } from '../ui/why.js';

const POINTS = 60;

export function statsView(w) {
  const rows = {};
  const row = (key) => {
    rows[key] = el('dd', {}, '–');
    return [el('dt', {}, w.say(`stats.${key}`)), rows[key]];
  };
  const line = svg('polyline', { fill: 'none', stroke: 'currentColor', 'stroke-width': 1.5, 'stroke-linejoin': 'round', 'vector-effect': 'non-scaling-stroke' });
  const chart = svg('svg', { viewBox: `0 0 ${POINTS - 1} 30`, preserveAspectRatio: 'none', class: 'chart', 'aria-hidden': 'true' }, line);
  const big = el('b', {}, '–');
  const why = whyDetails(w);
  const node = el('aside.stats', { part: 'stats', 'aria-label': w.say('stats.title'), hidden: true },
    el('div.stats-head', {}, el('span', {}, w.say('stats.rtt')), big), chart,
    el('dl', {},
      row('pair'), row('fps'), row('rate'), row('picture'),
      row('decode'), row('buffer'), row('jitter'), row('loss'),
      row('dropped'), row('first'), row('site'), row('predicted')),
    why.node);
  const history = [];
  return {
    node,
    toggle() { node.hidden = !node.hidden; return !node.hidden; },
    reset() {
      node.hidden = true;
      history.length = 0;
    },
    update(n, { firstFrameMS, launch }) {
      const rtt = n.pingMS ?? n.pairMS;
      if (rtt !== null) history.push(rtt);
      if (history.length > POINTS) history.shift();
      if (node.hidden) return;
      const top = Math.max(10, ...history) * 1.15;
      const from = POINTS - history.length;
      line.setAttribute('points', history.map((v, i) => `${from + i},${(29 - (28 * v) / top).toFixed(1)}`).join(' '));
      setText(big, rtt === null ? '–' : ms(rtt, w));
      setText(rows.pair, n.pairMS === null ? '–' : `${ms(n.pairMS, w)}${n.path ? ` · ${n.path}` : ''}`);
      setText(rows.fps, `${Math.round(n.fps)} / s`);
      setText(rows.rate, n.kbps >= 1000 ? `${(n.kbps / 1000).toFixed(1)} Mbit/s` : `${Math.round(n.kbps)} kbit/s`);
      setText(rows.picture, n.width ? `${n.width} × ${n.height} · ${n.codec}` : '–');
      setText(rows.decode, ms(n.decodeMS, w));
      setText(rows.buffer, ms(n.bufferMS, w));
      setText(rows.jitter, ms(n.jitterMS, w));
      setText(rows.loss, `${n.lossPercent.toFixed(n.lossPercent < 10 ? 1 : 0)} %`);
      setText(rows.dropped, n.decoded ? w.say('stats.dropped.of', { n: n.dropped, all: n.decoded }) : '–');
      setText(rows.first, firstFrameMS === null ? '–' : ms(Math.round(firstFrameMS), w));
      setText(rows.site, launch?.site || '–');
      const known = launch?.predicted_rtt_ms !== undefined;
      const how = known ? source(launch.rtt_source, w) : '';
      setText(rows.predicted, known ? `${ms(launch.predicted_rtt_ms, w)}${how && ` · ${how}`}` : '–');
      why.update(launch);
    },
  };
}
