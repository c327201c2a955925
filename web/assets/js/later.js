// later.js: what no session begins with: how one ends or why none begins, the help, the statistics,
// the last pixel of the picture.
// shell.js loads it in the background, so that a page can be shown, and play, before it is there.

import { fit } from './fit.js';
import { help } from './help.js';
import { clipboardTrouble, ending, looked } from './later/words.js';
import { closedScreen, endedScreen } from './screens/ended.js';
import { helpView } from './screens/helpview.js';
import { statsView } from './screens/statsview.js';
import { later } from './style/later.js';
import { whyDetails } from './ui/why.js';

const sheet = new CSSStyleSheet();
sheet.replaceSync(later);

// join puts what is here into a Shell.
export function join(shell) {
  const { root, w } = shell;
  if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  fit(shell);
  shell.stats = statsView(w);
  shell.helping = helpView({ onClose: () => { if (shell.player.state.phase === 'streaming') shell.hands.focus(); }, w });
  shell.banner.node.before(shell.stats.node);
  shell.node.append(shell.helping.node);
}

export { clipboardTrouble, closedScreen, endedScreen, ending, help, looked, whyDetails };
