// phases.js: groups of a session's phases.

export const WAITING = new Set(['connecting', 'queued', 'starting']);
export const HELD = new Set(['granted', 'streaming', 'reconnecting']);
export const OVER = new Set(['ready', 'ended', 'refused', 'replaced']);

export const isOver = (phase) => OVER.has(phase);
