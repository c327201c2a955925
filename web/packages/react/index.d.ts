import type { ForwardRefExoticComponent, HTMLAttributes, RefAttributes } from 'react';
import type {
  NearcastEnded, NearcastMessage, NearcastPlayer as NearcastPlayerElement, NearcastPlayerEventMap, NearcastQueue, NearcastStateDetail, NearcastStats,
} from '@nearcast/player';

export type {
  NearcastEnded, NearcastMessage, NearcastPlayerElement, NearcastQueue, NearcastStateDetail, NearcastStats,
};

export interface NearcastPlayerProps extends Omit<HTMLAttributes<NearcastPlayerElement>, 'autoFocus' | 'onEnded'> {
  /** The router, with its scheme: https://play.example.com. Without it: the origin of the page. */
  src?: string;
  app: string;
  /** A launch token. It does not stand in the document. A new one counts from the next launch on. */
  token?: string | null;
  /** The URL of a page that lists apps. */
  home?: string;
  /** For a page that is the player alone. */
  autofocus?: boolean;
  /** Values for the parameters of a public app. */
  params?: Record<string, string | number | boolean> | null;
  /** Texts in place of ours, by the keys of words/en.js and later/en.js. */
  words?: Record<string, string>;
  onState?: (detail: NearcastStateDetail, event: NearcastPlayerEventMap['state']) => void;
  onQueue?: (detail: NearcastQueue, event: NearcastPlayerEventMap['queue']) => void;
  onStats?: (detail: NearcastStats, event: NearcastPlayerEventMap['stats']) => void;
  onMessage?: (detail: NearcastMessage, event: NearcastPlayerEventMap['message']) => void;
  onEnded?: (detail: NearcastEnded, event: NearcastPlayerEventMap['ended']) => void;
}

/**
 * The player as a component. `ref` is the element, with its methods once its script is there:
 * play(), end(), send(), fullscreen(). To unmount it ends the session.
 */
export const NearcastPlayer: ForwardRefExoticComponent<NearcastPlayerProps & RefAttributes<NearcastPlayerElement>>;
