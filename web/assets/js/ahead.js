// ahead.js: fetches the texts of the browser's language while the rest of the page is on its way.

import { languageOf, wordsOf } from './language.js';

wordsOf(languageOf(navigator.languages));
