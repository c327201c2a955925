// statsview.js: the overlay of numbers, with the round trip of the last minute
// as a line.

import { ms, source } from '../words.js';
import { el, setText, svg } from '../ui/dom.js';
import { whyDetails } from '../ui/why.js';

const POINTS = 60;

export function statsView() {
  const rows = {};
  const row = (key, label) => {
    rows[key] = el('dd', {}, '–');
    return [el('dt', {}, label), rows[key]];
  };
  const line = svg('polyline', { fill: 'none', stroke: 'currentColor', 'stroke-width': 1.5, 'stroke-linejoin': 'round', 'vector-effect': 'non-scaling-stroke' });
  const chart = svg('svg', { viewBox: `0 0 ${POINTS - 1} 30`, preserveAspectRatio: 'none', class: 'chart', 'aria-hidden': 'true' }, line);
  const big = el('b', {}, '–');
  const why = whyDetails();
  const node = el('aside.stats', { 'aria-label': 'Statistics', hidden: true },
    el('div.stats-head', {}, el('span', {}, 'Round trip'), big), chart,
    el('dl', {},
      row('pair', 'Network'), row('fps', 'Frames'), row('rate', 'Bitrate'), row('picture', 'Picture'),
      row('decode', 'Decoding'), row('buffer', 'Buffer'), row('jitter', 'Jitter'), row('loss', 'Packet loss'),
      row('dropped', 'Dropped'), row('first', 'First frame'), row('site', 'Site'), row('predicted', 'Predicted')),
    why.node);
  const history = [];
  return {
    node,
    toggle() { node.hidden = !node.hidden; return !node.hidden; },
    reset() { history.length = 0; },
    update(n, { firstFrameMS, launch }) {
      const rtt = n.pingMS ?? n.pairMS;
      if (rtt !== null) history.push(rtt);
      if (history.length > POINTS) history.shift();
      if (node.hidden) return;
      const top = Math.max(10, ...history) * 1.15;
      const from = POINTS - history.length;
      line.setAttribute('points', history.map((v, i) => `${from + i},${(29 - (28 * v) / top).toFixed(1)}`).join(' '));
      setText(big, rtt === null ? '–' : ms(rtt));
      setText(rows.pair, n.pairMS === null ? '–' : `${ms(n.pairMS)}${n.path ? ` · ${n.path}` : ''}`);
      setText(rows.fps, `${Math.round(n.fps)} / s`);
      setText(rows.rate, n.kbps >= 1000 ? `${(n.kbps / 1000).toFixed(1)} Mbit/s` : `${Math.round(n.kbps)} kbit/s`);
      setText(rows.picture, n.width ? `${n.width} × ${n.height} · ${n.codec}` : '–');
      setText(rows.decode, ms(n.decodeMS));
      setText(rows.buffer, ms(n.bufferMS));
      setText(rows.jitter, ms(n.jitterMS));
      setText(rows.loss, `${n.lossPercent.toFixed(n.lossPercent < 10 ? 1 : 0)} %`);
      setText(rows.dropped, n.decoded ? `${n.dropped} of ${n.decoded}` : '–');
      setText(rows.first, firstFrameMS === null ? '–' : `${Math.round(firstFrameMS)} ms`);
      setText(rows.site, launch?.site || '–');
      const known = launch?.predicted_rtt_ms !== undefined;
      setText(rows.predicted, known ? `${ms(launch.predicted_rtt_ms)} · ${launch.rtt_source}` : '–');
      rows.predicted.title = known ? source(launch.rtt_source) : '';
      why.update(launch);
    },
  };
}
