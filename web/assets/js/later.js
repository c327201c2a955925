// later.js: what no session begins with: how one ends or why none begins, the help, the statistics.
// shell.js loads it in the background, so that a page can be shown, and play, before it is there.

import { help } from './help.js';
import { clipboardTrouble, ending, looked } from './later/words.js';
import { closedScreen, endedScreen } from './screens/ended.js';
import { helpView } from './screens/helpview.js';
import { statsView } from './screens/statsview.js';
import { later } from './style/later.js';
import { whyDetails } from './ui/why.js';

const sheet = new CSSStyleSheet();
sheet.replaceSync(later);

export { clipboardTrouble, closedScreen, endedScreen, ending, help, helpView, looked, sheet, statsView, whyDetails };
