// later.js: the style of what later.js has.

export const later = `
.technical {
  font: 14.08px/1.5 var(--nc-mono); color: var(--nc-faint); overflow-wrap: anywhere;
  padding: 9.6px 14.4px; border-radius: 10px; background: color-mix(in srgb, var(--nc-ink) 55%, transparent); box-shadow: inset 0 0 0 1px var(--nc-line); width: fit-content; max-width: 100%;
}
.bad .over { color: var(--nc-alarm); }

/* Why a session is at its site. */
.why { font-size: 13.44px; color: var(--nc-faint); max-width: 560px; min-width: 0; }
.why summary { cursor: pointer; width: fit-content; color: var(--nc-soft); border-radius: 4px; }
.why summary:hover { color: var(--nc-paper); }
.why-sites { display: grid; gap: 8px; margin-top: 9.6px; max-height: 32cqh; overflow-y: auto; overscroll-behavior: contain; }
.why-sites li { display: grid; grid-template-columns: auto 1fr; gap: 0 14.4px; padding-left: 12.8px; border-left: 2px solid var(--nc-line); }
.why-sites b { font-weight: 500; color: var(--nc-soft); }
.why-sites span { text-align: right; font-variant-numeric: tabular-nums; }
.why-sites em { grid-column: 1 / -1; font-style: normal; line-height: 1.4; overflow-wrap: anywhere; }
.why-sites .chosen { border-color: var(--nc-lamp); }
.why-sites .chosen b { color: var(--nc-paper); }
.why-sites .excluded { border-left-style: dotted; }

.stats {
  position: absolute; top: max(14px, env(safe-area-inset-top)); left: max(14px, env(safe-area-inset-left)); width: 272px; padding: 14.4px 16px 16px;
  border-radius: var(--nc-radius); background: color-mix(in srgb, var(--nc-ink) 93%, transparent); box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--nc-paper) 12%, transparent);
  font-size: 13.12px; pointer-events: none;
}
.stats-head { display: flex; justify-content: space-between; align-items: baseline; color: var(--nc-soft); }
.stats-head b { font-size: 24px; font-weight: 600; letter-spacing: -.03em; color: var(--nc-paper); font-variant-numeric: tabular-nums; }
.chart { display: block; width: 100%; height: 34px; color: var(--nc-lamp); margin: 4.8px 0 12.8px; border-bottom: 1px solid color-mix(in srgb, var(--nc-paper) 14%, transparent); }
.stats dl { display: grid; grid-template-columns: auto 1fr; gap: 3.52px 16px; }
.stats dt { color: var(--nc-faint); }
.stats dd { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }

.stats .why { margin-top: 11.2px; pointer-events: auto; }

/* What you can do. */
.help {
  margin: auto; width: min(704px, calc(100vw - 28px)); max-height: calc(100dvh - 28px); overflow: auto; padding: 17.6px 20.8px 22.4px; border: 0;
  border-radius: var(--nc-radius); color: var(--nc-paper); background: color-mix(in srgb, var(--nc-ink-raised) 97%, transparent); box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--nc-paper) 13%, transparent), 0 8px 28px rgb(0 0 0 / .5);
}
.help::backdrop { background: color-mix(in srgb, var(--nc-ink) 60%, transparent); }
.help-head { display: flex; justify-content: space-between; align-items: center; margin-bottom: 9.6px; }
.help-head h2 { font-size: 20.8px; }
.help-body { columns: 2 288px; column-gap: 32px; }
.help section { break-inside: avoid; margin: 0 0 17.6px; }
.help h3 { color: var(--nc-lamp-high); font-size: 13.44px; font-weight: 600; margin: 0 0 4.8px; }
.help ul { list-style: none; margin: 0; padding: 0; display: grid; gap: 6.4px; font-size: 14.72px; line-height: 1.4; color: var(--nc-soft); }
.help .keys { margin-right: 8.8px; color: var(--nc-faint); white-space: nowrap; }
.help kbd { font: 600 12.48px var(--nc-sans); padding: 1.6px 6.4px; margin: 0 1.92px; border: 1px solid color-mix(in srgb, var(--nc-paper) 30%, transparent); border-radius: 6px; color: var(--nc-paper); }

@container nearcast (max-width: 640px) {
  .stats { width: min(272px, calc(100cqw - 28px)); top: calc(68px + env(safe-area-inset-top)); }
}
@container nearcast (max-width: 480px) {
  .stats { top: calc(112px + env(safe-area-inset-top)); }
}
@container nearcast (max-height: 480px) {
  .stats { top: 62px; width: min(500px, calc(100cqw - 28px)); padding: 11.2px 14.4px; font-size: 12.48px; }
  .stats dl { grid-template-columns: auto 1fr auto 1fr; }
  .stats .chart { display: none; }
}
`;
