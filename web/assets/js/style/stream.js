// stream.js: the style of the picture, and of what lies over it.

export const stream = `
.stage, .stage video, .stage .still, .surface { position: absolute; inset: 0; width: 100%; height: 100%; }
.stage { background: #000; }
.stage video, .stage .still { object-fit: contain; display: block; }
.still { visibility: hidden; }
.still.shown { visibility: visible; }
.stage audio { display: none; }
.surface { touch-action: none; user-select: none; -webkit-user-select: none; -webkit-touch-callout: none; -webkit-tap-highlight-color: transparent; }
/* The app's own cursor is in the picture. */
[data-phase=streaming] .surface.absolute { cursor: none; }
/* The app has the keyboard; a focus ring around the whole window would only disturb. */
.surface:focus-visible { outline: none; }

[data-screen=none]:not([data-phase=streaming]) .stage :is(video, .still) { filter: brightness(.5) saturate(.6); transition: filter .5s; }
.reconnect { position: absolute; inset: 0; background: radial-gradient(closest-side, color-mix(in srgb, var(--nc-ink) 88%, transparent), color-mix(in srgb, var(--nc-ink) 55%, transparent)); display: grid; place-content: center; justify-items: center; gap: 8px; text-align: center; padding: 24px; }
.reconnect h2 { font-size: 27.2px; }
.reconnect p { color: var(--nc-soft); font-variant-numeric: tabular-nums; }
.spinner { width: 150px; height: 2px; border-radius: 2px; margin-bottom: 16px; background: color-mix(in srgb, var(--nc-paper) 20%, transparent); overflow: hidden; }
.spinner::after { content: ""; display: block; width: 36%; height: 100%; background: linear-gradient(90deg, transparent, var(--nc-lamp)); animation: seek 1.5s cubic-bezier(.5, .1, .4, 1) infinite; }
@keyframes seek { from { transform: translateX(-100%); } to { transform: translateX(380%); } }

.capture, .unmute {
  position: absolute; left: 50%; transform: translateX(-50%); display: flex; align-items: center; gap: 10.4px;
  padding: 11.2px 18.4px; border-radius: 999px; background: color-mix(in srgb, var(--nc-ink) 92%, transparent); box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--nc-paper) 16%, transparent);
  font-size: 15.2px; white-space: nowrap;
}
.capture { bottom: calc(var(--nc-edge-bottom) + 4cqh); pointer-events: none; }
.capture small { color: var(--nc-soft); font-size: 14.08px; padding-left: 10.4px; border-left: 1px solid var(--nc-line); }
.unmute { bottom: calc(var(--nc-edge-bottom) + 4cqh + 60px); border: 0; cursor: pointer; color: var(--nc-lamp-high); font-weight: 600; min-height: 46px; }
.unmute:hover { background: color-mix(in srgb, var(--nc-ink-raised) 95%, transparent); }

.toolbar { position: absolute; top: env(safe-area-inset-top); left: 50%; transform: translateX(-50%); display: none; justify-items: center; max-width: calc(100cqw - 16px); pointer-events: none; }
[data-screen=none] .toolbar { display: grid; }
.tools {
  grid-area: 1 / 1; display: flex; align-items: center; gap: 2.4px; margin-top: 8px; padding: 5px 6px 5px 16px; border-radius: 999px; max-width: 100%;
  background: color-mix(in srgb, var(--nc-ink-raised) 95%, transparent); box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--nc-paper) 13%, transparent), 0 8px 28px rgb(0 0 0 / .4);
  visibility: hidden; opacity: 0; transform: translateY(-10px); transition: opacity .18s, transform .22s var(--nc-ease), visibility 0s .2s;
}
.open .tools { visibility: visible; opacity: 1; transform: none; transition-delay: 0s; pointer-events: auto; }
.name { font-weight: 600; letter-spacing: -.01em; font-size: 14.72px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; max-width: 22ch; min-width: 3ch; }
.rtt { color: var(--nc-calm); font-size: 13.76px; font-variant-numeric: tabular-nums; white-space: nowrap; margin-left: 9.6px; min-width: 3.6em; }
.sep { width: 1px; height: 20px; margin: 0 7.2px; background: color-mix(in srgb, var(--nc-paper) 14%, transparent); flex: none; }
.tool {
  display: inline-flex; align-items: center; justify-content: center; gap: 7.2px; flex: none;
  min-width: 38px; height: 38px; padding: 0 8px; border: 0; border-radius: 999px; background: none; color: var(--nc-soft); cursor: pointer;
  transition: background-color .15s, color .15s; touch-action: manipulation;
}
.tool:hover { background: color-mix(in srgb, var(--nc-paper) 10%, transparent); color: var(--nc-paper); }
.tool[aria-pressed=true] { color: var(--nc-lamp); }
.tool:focus-visible { outline-offset: -2px; }
.tool kbd { font: 600 12.16px var(--nc-sans); letter-spacing: .01em; padding: 1.28px 5.6px; border: 1.5px solid currentColor; border-radius: 6px; }
.tool.end { padding: 0 15.2px 0 12px; color: var(--nc-paper); font-size: 14.72px; font-weight: 600; }
.tool.end.sure { background: var(--nc-alarm); color: #2a0905; }
.volume { width: 74px; accent-color: var(--nc-soft); margin: 0 6.4px 0 0; height: 4px; cursor: pointer; }
.tab { grid-area: 1 / 1; align-self: start; width: 72px; height: 20px; border: 0; background: none; padding: 0; cursor: pointer; pointer-events: auto; touch-action: manipulation; }
.tab i { display: block; width: 40px; height: 4px; margin: 5px auto 0; border-radius: 4px; background: color-mix(in srgb, var(--nc-paper) 42%, transparent); box-shadow: 0 0 0 1px rgb(0 0 0 / .25); transition: background-color .2s, opacity .2s; }
.tab:hover i { background: var(--nc-paper); }
.open .tab { visibility: hidden; }

.banner {
  position: absolute; left: 50%; top: calc(64px + env(safe-area-inset-top)); transform: translateX(-50%);
  display: flex; align-items: flex-start; gap: 12.8px; width: max-content; max-width: min(704px, calc(100cqw - 28px)); padding: 12.8px 9.6px 13.6px 17.6px;
  border-radius: var(--nc-radius); background: color-mix(in srgb, var(--nc-ink-raised) 96%, transparent); box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--nc-lamp) 40%, transparent), 0 8px 28px rgb(0 0 0 / .45);
  animation: arrive .4s var(--nc-ease) both;
}
.banner > .icon { color: var(--nc-lamp); margin-top: 1.92px; }
.banner p { display: grid; gap: 1.6px; }
.banner b { font-weight: 600; letter-spacing: -.01em; text-wrap: balance; }
.banner small { font-size: 13.44px; color: var(--nc-faint); font-variant-numeric: tabular-nums; }
.banner .tool { margin: -6.4px 0 -6.4px 1.6px; }
@keyframes arrive { from { opacity: 0; transform: translate(-50%, -10px); } }

/* What a person types has the focus here. It is seen only while an input method composes. */
.typing {
  position: absolute; left: 50%; bottom: auto; top: 60%; width: 1px; height: 1.6em; opacity: 0; border: 0; padding: 0; margin: 0; resize: none;
  font: 16px/1.6 var(--nc-sans); pointer-events: none; user-select: text; -webkit-user-select: text; overflow: hidden; white-space: nowrap; background: none; color: inherit;
}
.typing:focus-visible { outline: none; }
.typing.composing { opacity: 1; width: min(22em, 70cqw); padding: 0 .5em; border-radius: 6px; color: var(--nc-paper); background: color-mix(in srgb, var(--nc-ink-raised) 95%, transparent); }

@container nearcast (max-width: 640px) {
  .name, .volume, .tools .sep:first-of-type { display: none; }
  .rtt { margin-left: 0; }
  .tools { padding-left: 14px; }
  .tool { min-width: 40px; height: 44px; }
  .tab { width: 96px; height: 30px; }
  .tab i { margin-top: 7px; }
  .banner { width: calc(100cqw - 28px); }
}
@container nearcast (max-width: 480px) {
  .tools { flex-wrap: wrap; justify-content: center; gap: 0; padding: 5px 10px; border-radius: 28px; }
  .tools .sep { display: none; }
}
`;
