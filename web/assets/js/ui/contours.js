// contours.js: a picture drawn from a name: contour lines of a hill, different for each name. It
// imports nothing, so that bundlers make one file of it.

// contours draws the picture of a name, with svg() of dom.js. The same name gives the same hill.
export function contours(name, svg) {
  const random = stream(name);
  const hue = Math.round(random() * 360);
  const [cx, cy] = [480 + random() * 380, 150 + random() * 240];
  const waves = Array.from({ length: 4 }, (_, i) => ({ n: i + 2, size: (random() * 0.17) / (1 + i * 0.4), turn: random() * 6.28 }));
  const drift = { x: (random() - 0.5) * 16, y: (random() - 0.5) * 12 };
  const root = svg('svg', { viewBox: '0 0 960 540', preserveAspectRatio: 'xMidYMid slice', class: 'contours' });
  root.append(svg('rect', { width: 960, height: 540, fill: `hsl(${hue} 22% 12%)` }));
  const RINGS = 17;
  for (let ring = RINGS; ring > 0; ring--) {
    const radius = ring * 38;
    const points = [];
    for (let i = 0; i < 72; i++) {
      const angle = (i / 72) * 2 * Math.PI;
      // Inner rings are calmer, as on a real hill.
      const bend = waves.reduce((sum, w) => sum + w.size * Math.sin(w.n * angle + w.turn + ring * 0.07), 0) * Math.min(1, ring / 6);
      const r = radius * (1 + bend);
      points.push(`${(cx + drift.x * ring + Math.cos(angle) * r).toFixed(1)} ${(cy + drift.y * ring + Math.sin(angle) * r * 0.78).toFixed(1)}`);
    }
    const height = 1 - ring / RINGS;
    root.append(svg('path', {
      d: `M${points.join('L')}Z`,
      fill: `hsl(${hue + height * 34} ${30 + height * 18}% ${12 + height * 27}%)`,
      stroke: `hsl(${hue + height * 40} 52% ${34 + height * 40}%)`,
      'stroke-opacity': (0.16 + height * 0.44).toFixed(2),
      'stroke-width': ring % 4 === 1 ? 1.8 : 0.9,
    }));
  }
  return root;
}

// stream is a small generator of numbers in 0..1, seeded by a name.
function stream(name) {
  let h = 2166136261;
  for (const c of String(name)) h = Math.imul(h ^ c.codePointAt(0), 16777619);
  return () => {
    h = Math.imul(h ^ (h >>> 15), 2246822507);
    h = Math.imul(h ^ (h >>> 13), 3266489909);
    h ^= h >>> 16;
    return (h >>> 0) / 4294967296;
  };
}
