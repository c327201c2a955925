// screens.js: the style of all that is shown but the stream itself: backdrop, panel, the
// distance line, the line of stations.

export const screens = `
.backdrop { position: absolute; inset: 0; background: var(--nc-ink); transition: opacity .35s ease-out, visibility 0s .35s; }
.backdrop .picture { position: absolute; inset: 0; transition: filter .5s, transform 1.2s var(--nc-ease); }
.backdrop::after {
  content: ""; position: absolute; inset: 0;
  background:
    linear-gradient(180deg, color-mix(in srgb, var(--nc-ink) 62%, transparent) 0, color-mix(in srgb, var(--nc-ink) 0%, transparent) 22%),
    linear-gradient(90deg, color-mix(in srgb, var(--nc-ink) 93%, transparent) 0, color-mix(in srgb, var(--nc-ink) 82%, transparent) 30%, color-mix(in srgb, var(--nc-ink) 10%, transparent) 78%),
    linear-gradient(0deg, color-mix(in srgb, var(--nc-ink) 92%, transparent) 0, color-mix(in srgb, var(--nc-ink) 0%, transparent) 60%);
}
[data-screen=waiting] .backdrop .picture, [data-screen=over] .backdrop .picture { filter: saturate(.55) brightness(.6); }
[data-screen=none] .backdrop { opacity: 0; visibility: hidden; pointer-events: none; transition: opacity .25s ease-out, visibility 0s .25s; }

/* Above the dock, which has all of the place, for what is in it alone. */
.masthead { position: absolute; inset: 0 0 auto 0; z-index: 1; pointer-events: none; transition: opacity .25s; }
[name=brand]::slotted(*) { pointer-events: auto; }
[data-screen=none] > .masthead { opacity: 0; visibility: hidden; pointer-events: none; }

.dock {
  position: absolute; inset: 0; display: flex; align-items: flex-end; overflow-y: auto; overscroll-behavior: contain;
  padding: calc(var(--nc-edge-top) + 56px) var(--nc-edge-right) var(--nc-edge-bottom) var(--nc-edge-left);
}
[data-screen=none] .dock { display: none; }
.panel.waiting:focus-visible { outline: none; }
.panel { display: grid; gap: 17.6px; width: min(100%, 560px); margin-top: auto; animation: rise .5s var(--nc-ease) both; }
.panel h1 { font-size: clamp(33.6px, 20.8px + 3.6cqw, 64px); letter-spacing: -.04em; overflow-wrap: anywhere; }
.lead { color: var(--nc-soft); font-size: clamp(16px, 15.2px + .3cqw, 18.4px); max-width: 512px; }
.lead:empty { display: none; }
.over { color: var(--nc-lamp); font-weight: 600; letter-spacing: -.01em; }
.actions { display: flex; align-items: center; flex-wrap: wrap; gap: 14.4px 20.8px; margin-top: 9.6px; }
@keyframes rise { from { opacity: 0; transform: translateY(10px); } }

.ready .actions { flex-wrap: wrap-reverse; } /* what does not fit beside Play goes above it */
.play-button { min-height: 60px; padding: 0 33.6px 0 27.2px; font-size: 19.2px; }
.play-button .icon { width: 1.15em; height: 1.15em; }

/* Most starts are over before this fades in: so nothing flickers. */
.panel.waiting { animation: rise .45s .3s var(--nc-ease) both; }
.waiting h1 { font-size: clamp(28.8px, 19.2px + 2.6cqw, 49.6px); }
.waiting .lead { font-variant-numeric: tabular-nums; margin-top: 11.2px; min-height: 1.55em; display: block; }
/* The line of stations. */
.progress { margin-top: 6.4px; padding: 0 6px; }
.rail { position: relative; height: 2px; border-radius: 2px; background: color-mix(in srgb, var(--nc-paper) 18%, transparent); }
.rail span { position: absolute; inset: 0 auto 0 0; width: var(--done, 0%); border-radius: 2px; background: var(--nc-lamp); transition: width .5s var(--nc-ease); }
.rail.unknown { overflow: hidden; }
.rail.unknown span { width: 28%; background: linear-gradient(90deg, transparent, var(--nc-lamp)); animation: cast 1.7s cubic-bezier(.5, .1, .4, 1) infinite; transition: none; }
@keyframes cast { from { transform: translateX(-100%); } to { transform: translateX(460%); } }
.stations { display: flex; justify-content: space-between; height: 38px; margin: -6px -6px 0; font-size: 13.44px; color: var(--nc-faint); }
.stations li { position: relative; width: 11px; }
.stations span { position: absolute; top: 20px; left: 50%; transform: translateX(-50%); white-space: nowrap; }
.stations li:first-child span { left: 0; transform: none; }
.stations li:last-child span { left: auto; right: 0; transform: none; }
.stations i { display: block; width: 11px; height: 11px; border-radius: 50%; background: var(--nc-ink); box-shadow: inset 0 0 0 2px #4a5557; transition: background-color .3s, box-shadow .3s; }
.stations .done i { background: var(--nc-lamp); box-shadow: none; }
.stations .done { color: var(--nc-soft); }
.stations .now { color: var(--nc-paper); }
.stations .now i { box-shadow: inset 0 0 0 2.5px var(--nc-lamp), 0 0 0 5px color-mix(in srgb, var(--nc-lamp) 16%, transparent); animation: pulse 1.6s ease-in-out infinite; }
@keyframes pulse { 50% { box-shadow: inset 0 0 0 2.5px var(--nc-lamp), 0 0 0 9px color-mix(in srgb, var(--nc-lamp) 5%, transparent); } }

/* The distance line. */
.distance { margin-top: 20.8px; max-width: 512px; }
.distance-rail { position: relative; height: 58px; }
.distance-rail[data-rows="1"] { height: 92px; }
.distance-rail[data-rows="2"] { height: 126px; }
.distance-rail::before { content: ""; position: absolute; left: 5px; right: 0; top: 6px; border-top: 2px dotted color-mix(in srgb, var(--nc-paper) 20%, transparent); }
.distance-you { position: absolute; left: 0; top: 1px; font-size: 13.44px; line-height: 1.3; color: var(--nc-soft); }
.distance-you::before { content: ""; display: block; width: 12px; height: 12px; border-radius: 50%; background: var(--nc-paper); margin-bottom: calc(8px + 1px); }
.distance-way { position: absolute; left: 6px; top: 6px; height: 2px; width: calc(var(--way, 0%) - 6px); background: var(--nc-lamp); transition: width .5s var(--nc-ease); }
.distance-stop { position: absolute; top: 0; display: grid; justify-items: center; font-size: 13.44px; line-height: 1.3; color: var(--nc-faint); white-space: nowrap; transform: translateX(-50%); transition: left .5s var(--nc-ease); }
.distance-stop i { width: 14px; height: 14px; border-radius: 50%; background: var(--nc-ink); box-shadow: inset 0 0 0 2px #566265; margin-bottom: 8px; }
.distance-stop[data-row="1"] i { margin-bottom: calc(8px + 34px); }
.distance-stop[data-row="2"] i { margin-bottom: calc(8px + 68px); }
.distance-stop b { font-weight: 500; }
.distance-stop em { font-style: normal; font-variant-numeric: tabular-nums; }
.distance-stop.near { color: var(--nc-paper); }
.distance-stop.near i { box-shadow: inset 0 0 0 3px var(--nc-lamp); }
.distance-stop.near em { color: var(--nc-lamp); }
.distance-caption.told { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.distance-caption { font-size: 13.44px; color: var(--nc-faint); margin-top: 5.6px; }

@container nearcast (max-width: 640px) {
  .backdrop .picture { bottom: 34%; }
  .backdrop::after {
    background:
      linear-gradient(180deg, color-mix(in srgb, var(--nc-ink) 66%, transparent) 0, color-mix(in srgb, var(--nc-ink) 0%, transparent) 20%),
      linear-gradient(0deg, var(--nc-ink) 0, var(--nc-ink) 34%, color-mix(in srgb, var(--nc-ink) 86%, transparent) 50%, color-mix(in srgb, var(--nc-ink) 10%, transparent) 82%);
  }
  .play-button { width: 100%; }
  .panel .actions .quiet, .panel .actions .primary { flex: 1 1 auto; }
  .stations { font-size: 12.16px; }
}
@container nearcast (max-height: 480px) {
  .panel { gap: 9.6px; }
  .panel h1 { font-size: 30.4px; }
  .distance-caption, .ready .lead { display: none; }
  .distance { margin-top: 6.4px; }
  .ready .actions { flex-wrap: wrap-reverse; } /* what does not fit beside Play goes above it */
.play-button { min-height: 48px; }
}
`;
