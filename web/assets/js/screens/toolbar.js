// toolbar.js: the controls over the picture. A small tab at the top edge opens it.
// It closes by itself, and takes the keyboard from the app only when asked to.

import { ms } from '../words.js';
import { el, setText } from '../ui/dom.js';
import { icon } from '../ui/icons.js';

const LINGER_MS = 2600;
const SURE_MS = 3500;

export function toolbar({ title, actions }) {
  const button = (name, label, onclick) => el('button.tool', { type: 'button', title: label, 'aria-label': label, onclick }, icon(name));
  const sound = button('sound', 'Mute', () => actions.mute());
  const volume = el('input.volume', { type: 'range', min: 0, max: 100, value: 100, 'aria-label': 'Volume', oninput: () => actions.volume(volume.valueAsNumber / 100) });
  const escape = button('escape', 'Send Escape to the app', () => actions.escape());
  escape.replaceChildren(el('kbd', {}, 'Esc'));
  const keys = button('keyboard', 'Screen keyboard', () => actions.keyboard());
  const paste = button('paste', 'Paste into the app', () => actions.paste());
  paste.hidden = true;
  const shut = button('close', 'Close the window in front (Alt+F4)', () => actions.closeWindow());
  shut.classList.add('shut');
  shut.hidden = true;
  // On a Mac: what Option and Command are.
  const option = button('keyboard', 'Option', () => actions.choose('option'));
  const command = button('keyboard', 'Command', () => actions.choose('command'));
  option.hidden = command.hidden = true;
  const stats = button('stats', 'Statistics (Ctrl+Alt+Shift+S)', () => actions.stats());
  const help = button('help', 'What you can do (Ctrl+Alt+Shift+H)', () => actions.help());
  const full = button('full', 'Full screen (Ctrl+Alt+Shift+F)', () => actions.fullscreen());
  const end = el('button.tool.end', { type: 'button', 'aria-label': 'End session' }, icon('end'), el('span', {}, 'End'));
  const rtt = el('span.rtt', { title: 'Time to the app and back' });
  const name = el('span.name', {}, title);
  const tab = el('button.tab', { type: 'button', 'aria-label': 'Menu (Ctrl+Alt+Shift+M)', 'aria-expanded': 'false', onclick: () => open(true) }, el('i'));
  const bar = el('div.tools', { role: 'toolbar', 'aria-label': 'Session' }, name, rtt, el('span.sep'), sound, volume, escape, keys, paste, shut, option, command, stats, full, help, el('span.sep'), end);
  const node = el('div.toolbar', {}, bar, tab);

  let timer;
  let sure;
  function open(stay = false) {
    node.classList.add('open');
    tab.setAttribute('aria-expanded', 'true');
    clearTimeout(timer);
    if (!stay) timer = setTimeout(close, LINGER_MS);
    else timer = setTimeout(close, LINGER_MS * 2);
  }
  function close() {
    if (bar.matches(':hover') || bar.querySelector(':focus-visible')) {
      timer = setTimeout(close, LINGER_MS);
      return;
    }
    node.classList.remove('open');
    tab.setAttribute('aria-expanded', 'false');
    unsure();
  }
  function unsure() {
    clearTimeout(sure);
    end.classList.remove('sure');
    setText(end.lastChild, 'End');
    end.setAttribute('aria-label', 'End session');
  }
  // Unsaved work is lost with the session: ask first.
  end.addEventListener('click', () => {
    if (end.classList.contains('sure')) {
      unsure();
      actions.end();
      return;
    }
    end.classList.add('sure');
    setText(end.lastChild, 'End session?');
    end.setAttribute('aria-label', 'Press again to end the session');
    open(true);
    sure = setTimeout(unsure, SURE_MS);
  });
  tab.addEventListener('pointerenter', (e) => { if (e.pointerType === 'mouse' && e.buttons === 0) open(); });
  bar.addEventListener('pointerleave', () => open());
  // After a click or tap on a tool the app has the keyboard again.
  bar.addEventListener('mousedown', (e) => { if (e.target !== volume) e.preventDefault(); });
  bar.addEventListener('keydown', (e) => {
    if (e.key === 'Escape') { actions.refocus(); close(); }
    const tools = [...bar.querySelectorAll('button:not([hidden]), input:not([hidden])')];
    const at = tools.indexOf(document.activeElement);
    if (e.target === volume) return;
    if (e.key === 'ArrowRight') tools[(at + 1) % tools.length].focus();
    if (e.key === 'ArrowLeft') tools[(at + tools.length - 1) % tools.length].focus();
  });

  return {
    node, open, unsure,
    focus() { open(true); sound.focus(); },
    setTitle: (text) => setText(name, text),
    setRTT(value) { setText(rtt, value === null || value === undefined ? '' : ms(value)); },
    setSound({ has, muted }) {
      sound.hidden = volume.hidden = !has;
      const label = muted ? 'Sound on' : 'Mute';
      sound.replaceChildren(icon(muted ? 'muted' : 'sound'));
      sound.title = label;
      sound.setAttribute('aria-label', label);
    },
    setFull({ can, is }) {
      full.hidden = !can;
      full.replaceChildren(icon(is ? 'window' : 'full'));
      full.setAttribute('aria-label', is ? 'Leave full screen' : 'Full screen');
    },
    // With one window, to close it is to end the app.
    setWindows(n) { shut.hidden = n < 2; },
    setPaste(can) { paste.hidden = !can; },
    setTouch(touch) { keys.hidden = !touch; },
    // setChoices shows what Option and Command are; without choices there are no such keys.
    setChoices(choices) {
      option.hidden = command.hidden = !choices;
      if (!choices) return;
      const show = (tool, key, label) => {
        tool.replaceChildren(el('kbd', {}, key));
        tool.title = label;
        tool.setAttribute('aria-label', label);
      };
      if (choices.option === 'characters') show(option, '⌥ @', 'Option types characters. Press to make it Alt');
      else show(option, '⌥ Alt', 'Option is Alt. Press to type characters with it');
      if (choices.command === 'control') show(command, '⌘ Ctrl', 'Command is Control. Press to make it Super');
      else show(command, '⌘ Super', 'Command is Super. Press to make it Control');
    },
    setStats(on) { stats.setAttribute('aria-pressed', on ? 'true' : 'false'); },
  };
}
