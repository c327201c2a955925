// The types of <nearcast-player>. They are written by hand: a test compiles a page against them.

/** What the player does now. `unavailable`: the app cannot be launched from here. */
export type NearcastState =
  | 'ready' | 'unavailable' | 'launching' | 'connecting' | 'queued' | 'starting' | 'granted'
  | 'streaming' | 'reconnecting' | 'leaving' | 'ended' | 'refused' | 'replaced';

/** A problem as RFC 9457 has it. Those that the player found itself have other members. */
export interface NearcastProblem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  [member: string]: unknown;
}

export interface NearcastSession {
  id: string;
  site: string;
}

export interface NearcastQueue {
  /** 1 is the next one. */
  position: number;
  /** -1 where nothing is known. */
  estimateMS: number;
  /** The site repairs itself; the place is kept. */
  paused: boolean;
}

export interface NearcastStateDetail {
  state: NearcastState;
  before: NearcastState;
  session: NearcastSession | null;
  problem?: NearcastProblem;
}

export interface NearcastStats {
  fps: number;
  kbps: number;
  /** The round trip of a message to the app's seat and back, or null where none came back yet. */
  pingMS: number | null;
  /** The round trip of the network, as the browser measures it. */
  pairMS: number | null;
  lossPercent: number;
  jitterMS: number;
  decodeMS: number;
  bufferMS: number;
  width: number;
  height: number;
  codec: string;
  path: string;
  decoded: number;
  dropped: number;
  freezes: number;
  [more: string]: unknown;
}

/** Why a session is over. */
export type NearcastEndReason =
  | 'left' | 'idle' | 'time-limit' | 'lost' | 'app-exited' | 'drained' | 'retired' | 'error'
  | 'refused' | 'replaced' | (string & {});

export interface NearcastEnded {
  reason: NearcastEndReason;
  code?: string;
  detail?: string;
  exitCode?: number;
  signal?: string;
  problem?: NearcastProblem;
}

/** What JSON can say. */
export type NearcastJSON = string | number | boolean | null | NearcastJSON[] | { [key: string]: NearcastJSON };

export interface NearcastMessage {
  /** What JSON said, or bytes. */
  data: any;
}

export interface NearcastPlayerEventMap {
  state: CustomEvent<NearcastStateDetail>;
  queue: CustomEvent<NearcastQueue>;
  stats: CustomEvent<NearcastStats>;
  message: CustomEvent<NearcastMessage>;
  ended: CustomEvent<NearcastEnded>;
}

/** The parts that `nearcast-player::part()` reaches. */
export type NearcastPart =
  | 'panel' | 'app' | 'title' | 'text' | 'button' | 'play' | 'cancel' | 'backdrop' | 'video' | 'toolbar' | 'stats' | 'banner';

/** The slots for screens of the page. */
export type NearcastSlot = 'ready' | 'waiting' | 'ended' | 'brand';

/** The properties of CSS that change the look. */
export type NearcastProperty =
  | '--nearcast-background' | '--nearcast-raised' | '--nearcast-raised-high' | '--nearcast-line' | '--nearcast-text'
  | '--nearcast-text-soft' | '--nearcast-text-faint' | '--nearcast-accent' | '--nearcast-accent-high'
  | '--nearcast-accent-text' | '--nearcast-good' | '--nearcast-bad' | '--nearcast-radius' | '--nearcast-font';

/** The languages that the player speaks. */
export type NearcastLanguage = 'en' | 'de' | 'fr' | 'ja';

/** The attributes, as they stand in HTML. */
export interface NearcastPlayerAttributes {
  /** The router, with its scheme: https://play.example.com. Without it: the origin of the page. */
  src?: string;
  app?: string;
  /** A launch token. The property of this name keeps it out of the document. */
  token?: string;
  lang?: string;
  /** The URL of a page that lists apps. */
  home?: string;
  autofocus?: boolean | '';
}

export class NearcastPlayer extends HTMLElement {
  get src(): string | null;
  set src(url: string | null);
  get app(): string;
  set app(id: string | null);
  get home(): string;
  set home(url: string | null);
  get token(): string;
  set token(token: string | null);
  /** Values for the parameters of a public app. */
  get params(): Record<string, string> | null;
  set params(params: Record<string, string | number | boolean> | null);
  /** Texts in place of ours, by the keys of words/en.js and later/en.js. */
  words: Record<string, string>;
  readonly state: NearcastState;
  readonly queue: NearcastQueue | null;
  readonly session: NearcastSession | null;

  /** Launches. Call it in the handler of a click, else the browser keeps the sound back. */
  play(): void;
  /** Ends the session, or leaves the queue. */
  end(): void;
  /** Enters or leaves full screen. */
  fullscreen(): Promise<void>;
  /** Says that play() is near. */
  prepare(): void;
  unprepare(): void;
  /** Sends the app a message of at most 256 KiB; resolves when the app has taken it. */
  send(data: NearcastJSON | ArrayBuffer | ArrayBufferView): Promise<void>;

  addEventListener<K extends keyof NearcastPlayerEventMap>(type: K, listener: (this: NearcastPlayer, event: NearcastPlayerEventMap[K]) => unknown, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof NearcastPlayerEventMap>(type: K, listener: (this: NearcastPlayer, event: NearcastPlayerEventMap[K]) => unknown, options?: boolean | EventListenerOptions): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | EventListenerOptions): void;
}

declare global {
  interface HTMLElementTagNameMap {
    'nearcast-player': NearcastPlayer;
  }
}
