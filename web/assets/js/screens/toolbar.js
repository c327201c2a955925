// toolbar.js: the controls over the picture. A small tab at the top edge opens it.
// It closes by itself, and takes the keyboard from the app only when asked to.

import { ms } from '../words.js';
import { el, setText } from '../ui/dom.js';
import { icon } from '../ui/icons.js';

const LINGER_MS = 2600;
const SURE_MS = 3500;

export function toolbar({ title, actions, w }) {
  const tool = (content, label, onclick) => el('button.tool', { type: 'button', title: label, 'aria-label': label, onclick }, content);
  // People who control the computer by voice say the text that they see, so a button's name begins with it.
  const named = (key, label) => `${key}: ${label}`;
  const button = (name, label, onclick) => tool(icon(name), label, onclick);
  const sound = button('sound', w.say('tool.mute'), () => actions.mute());
  const volume = el('input.volume', { type: 'range', min: 0, max: 100, value: 100, 'aria-label': w.say('tool.volume'), oninput: () => actions.volume(volume.valueAsNumber / 100) });
  const escape = tool(el('kbd', {}, 'Esc'), named('Esc', w.say('tool.escape')), () => actions.escape());
  const keys = button('keyboard', w.say('tool.keyboard'), () => actions.keyboard());
  const paste = button('paste', w.say('tool.paste'), () => actions.paste());
  paste.hidden = true;
  const shut = button('close', w.say('tool.window'), () => actions.closeWindow());
  shut.classList.add('shut');
  shut.hidden = true;
  // On a Mac: what Option and Command are.
  const option = button('keyboard', 'Option', () => actions.choose('option'));
  const command = button('keyboard', 'Command', () => actions.choose('command'));
  option.hidden = command.hidden = true;
  const stats = button('stats', w.say('tool.stats'), () => actions.stats());
  const help = button('help', w.say('tool.help'), () => actions.help());
  const full = button('full', w.say('tool.full'), () => actions.fullscreen());
  const fullKeys = [w.say('key.ctrl'), 'Alt', w.say('key.shift'), 'F'].join('+');
  const end = el('button.tool.end', { type: 'button', 'aria-label': w.say('tool.end.label') }, icon('end'), el('span', {}, w.say('tool.end')));
  const rtt = el('span.rtt', { title: w.say('tool.rtt') });
  const name = el('span.name', {}, title);
  const tab = el('button.tab', { type: 'button', 'aria-label': w.say('tool.menu'), 'aria-expanded': 'false', onclick: () => open(true) }, el('i'));
  const bar = el('div.tools', { part: 'toolbar', role: 'toolbar', 'aria-label': w.say('tool.bar') }, name, rtt, el('span.sep'), sound, volume, escape, keys, paste, shut, option, command, stats, full, help, el('span.sep'), end);
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
    setText(end.lastChild, w.say('tool.end'));
    end.setAttribute('aria-label', w.say('tool.end.label'));
  }
  // Unsaved work is lost with the session: ask first.
  end.addEventListener('click', () => {
    if (end.classList.contains('sure')) {
      unsure();
      actions.end();
      return;
    }
    end.classList.add('sure');
    setText(end.lastChild, w.say('tool.end.sure'));
    end.setAttribute('aria-label', named(w.say('tool.end.sure'), w.say('tool.end.sure.label')));
    open(true);
    sure = setTimeout(unsure, SURE_MS);
  });
  tab.addEventListener('pointerenter', (e) => { if (e.pointerType === 'mouse' && e.buttons === 0) open(); });
  bar.addEventListener('pointerleave', () => open());
  // After a click or tap on a tool the app has the keyboard again.
  node.addEventListener('mousedown', (e) => { if (e.target !== volume) e.preventDefault(); });
  bar.addEventListener('keydown', (e) => {
    if (e.key === 'Escape') { actions.refocus(); close(); }
    const tools = [...bar.querySelectorAll('button:not([hidden]), input:not([hidden])')];
    const at = tools.indexOf(node.getRootNode().activeElement);
    if (e.target === volume) return;
    if (e.key === 'ArrowRight') tools[(at + 1) % tools.length].focus();
    if (e.key === 'ArrowLeft') tools[(at + tools.length - 1) % tools.length].focus();
  });

  return {
    node, open, unsure,
    focus() { open(true); sound.focus(); },
    setTitle: (text) => setText(name, text),
    setRTT(value) { setText(rtt, value === null || value === undefined ? '' : ms(value, w)); },
    setSound({ has, muted }) {
      sound.hidden = volume.hidden = !has;
      const label = w.say(muted ? 'tool.sound' : 'tool.mute');
      sound.replaceChildren(icon(muted ? 'muted' : 'sound'));
      sound.title = label;
      sound.setAttribute('aria-label', label);
    },
    setFull({ can, is }) {
      full.hidden = !can;
      full.replaceChildren(icon(is ? 'window' : 'full'));
      const label = w.say(is ? 'tool.full.leave' : 'tool.full');
      full.title = `${label} (${fullKeys})`;
      full.setAttribute('aria-label', label);
    },
    // With one window, to close it is to end the app.
    setWindows(n) { shut.hidden = n < 2; },
    setPaste(can) { paste.hidden = !can; },
    setTouch(touch) { keys.hidden = !touch; },
    // setChoices shows what Option and Command are; without choices there are no such keys.
    setChoices(choices) {
      option.hidden = command.hidden = !choices;
      if (!choices) return;
      const show = (one, key, label) => {
        one.replaceChildren(el('kbd', {}, key));
        one.title = label;
        one.setAttribute('aria-label', named(key, label));
      };
      if (choices.option === 'characters') show(option, '⌥ @', w.say('tool.option.characters'));
      else show(option, '⌥ Alt', w.say('tool.option.alt'));
      if (choices.command === 'control') show(command, '⌘ Ctrl', w.say('tool.command.control'));
      else show(command, '⌘ Super', w.say('tool.command.meta'));
    },
    setStats(on) { stats.setAttribute('aria-pressed', on ? 'true' : 'false'); },
  };
}
