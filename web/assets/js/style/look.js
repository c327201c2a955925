// look.js: the palette, the type and what all screens of the player share, as CSS. It is text in
// a module, since a page's policy may forbid a style element and a request for a style sheet;
// what element.js makes of it needs neither. base.css has the same for our other pages.
//
// A page changes the look by the properties --nearcast-*, and by ::part().

export const look = `
:host { display: block; position: relative; overflow: hidden; aspect-ratio: 16 / 9; min-width: 0; color-scheme: dark; background: #000; contain: layout paint; }
:host([hidden]) { display: none; }
:host(:fullscreen) { aspect-ratio: auto; width: 100%; height: 100%; }
.player {
  --nc-ink: var(--nearcast-background, #0b0f10);
  --nc-ink-raised: var(--nearcast-raised, #12181a);
  --nc-ink-high: var(--nearcast-raised-high, #1a2224);
  --nc-line: var(--nearcast-line, #273134);
  --nc-paper: var(--nearcast-text, #edeee8);
  --nc-soft: var(--nearcast-text-soft, #aab4b0);
  --nc-faint: var(--nearcast-text-faint, #7f8b87);
  --nc-lamp: var(--nearcast-accent, #f5b95f);
  --nc-lamp-high: var(--nearcast-accent-high, #ffcd80);
  --nc-lamp-ink: var(--nearcast-accent-text, #211503);
  --nc-calm: var(--nearcast-good, #83cfab);
  --nc-alarm: var(--nearcast-bad, #f3948a);
  --nc-radius: var(--nearcast-radius, 14px);
  --nc-ease: cubic-bezier(.2, .7, .2, 1);
  --nc-sans: var(--nearcast-font, "Inter", ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif);
  --nc-mono: ui-monospace, "SF Mono", "Cascadia Mono", "Roboto Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  --nc-edge-top: max(clamp(18px, 3cqw, 34px), env(safe-area-inset-top));
  --nc-edge-right: max(clamp(20px, 4.5cqw, 64px), env(safe-area-inset-right));
  --nc-edge-bottom: max(clamp(20px, 4cqw, 52px), env(safe-area-inset-bottom));
  --nc-edge-left: max(clamp(20px, 4.5cqw, 64px), env(safe-area-inset-left));
  position: absolute; inset: 0; overflow: hidden; container: nearcast / size; background: #000;
  font: 400 16px/1.55 var(--nc-sans); color: var(--nc-paper); text-align: start; letter-spacing: normal;
  -webkit-font-smoothing: antialiased; text-rendering: optimizeLegibility;
}
*, ::before, ::after { box-sizing: border-box; }
[hidden] { display: none !important; }
h1, h2, p, ul, ol, dl, dd, pre { margin: 0; padding: 0; }
h1, h2 { font-weight: 600; line-height: 1.08; letter-spacing: -.025em; text-wrap: balance; }
p { text-wrap: pretty; overflow-wrap: anywhere; }
ul, ol { list-style: none; }
a { color: inherit; }
button { font: inherit; color: inherit; }
.icon { width: 1.25em; height: 1.25em; flex: none; display: block; }

:focus { outline: none; }
:focus-visible { outline: 2px solid var(--nc-lamp); outline-offset: 3px; }

.masthead {
  display: flex; align-items: center; justify-content: space-between;
  padding: var(--nc-edge-top) var(--nc-edge-right) 0 var(--nc-edge-left);
}
.primary, .quiet {
  display: inline-flex; align-items: center; justify-content: center; gap: 9.6px;
  min-height: 48px; padding: 0 22.4px; border-radius: 999px; border: 1px solid transparent;
  font-weight: 600; letter-spacing: -.01em; text-decoration: none; cursor: pointer;
  transition: background-color .16s, border-color .16s, color .16s, transform .16s var(--nc-ease);
  -webkit-tap-highlight-color: transparent; touch-action: manipulation;
}
.primary { background: var(--nc-lamp); color: var(--nc-lamp-ink); }
.primary:hover { background: var(--nc-lamp-high); }
.primary:active, .primary.pressed { transform: scale(.98); }
.primary.pressed { background: var(--nc-lamp-high); cursor: default; }
.quiet { background: color-mix(in srgb, var(--nc-paper) 6%, transparent); border-color: color-mix(in srgb, var(--nc-paper) 16%, transparent); color: var(--nc-paper); }
.quiet:hover { background: color-mix(in srgb, var(--nc-paper) 12%, transparent); border-color: color-mix(in srgb, var(--nc-paper) 28%, transparent); }

.chip { display: inline-flex; align-items: center; gap: 8px; font-size: 14.4px; color: var(--nc-soft); white-space: nowrap; }
.chip i { width: 8px; height: 8px; border-radius: 50%; background: var(--nc-faint); }
.chip[data-kind=ready] { color: var(--nc-calm); }
.chip[data-kind=ready] i { background: var(--nc-calm); box-shadow: 0 0 0 3px rgb(131 207 171 / .16); }
.chip[data-kind=cold] i { background: none; box-shadow: inset 0 0 0 2px var(--nc-lamp); }
.chip[data-kind=full] i { background: var(--nc-lamp); }
.chip[data-kind=failing] { color: var(--nc-alarm); }
.chip[data-kind=failing] i { background: var(--nc-alarm); }

.picture { position: relative; overflow: hidden; background: var(--nc-ink-high); }
.picture > * { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: cover; display: block; }

.ribbon {
  display: flex; align-items: center; gap: 9.6px; width: fit-content; max-width: 100%;
  padding: 8.8px 14.4px; border-radius: 10px; border: 1px solid color-mix(in srgb, var(--nc-lamp) 30%, transparent);
  background: color-mix(in srgb, var(--nc-lamp) 8%, transparent); color: var(--nc-lamp-high); font-size: 14.72px;
}
.hint { color: var(--nc-alarm); font-size: 14.72px; }

@media (prefers-reduced-motion: reduce) {
  *, ::before, ::after { animation-duration: .01ms !important; animation-iteration-count: 1 !important; transition-duration: .01ms !important; }
}
`;
