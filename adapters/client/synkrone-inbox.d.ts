/** A notification as the server lists it. Times are RFC 3339 in UTC, or null. */
export interface Notification<Data = Record<string, unknown> | null> {
  readonly id: string;
  readonly type: string;
  readonly title: string | null;
  readonly body: string | null;
  /** What the publisher gave, frozen. */
  readonly data: Data;
  readonly created_at: string;
  readonly expires_at: string | null;
  /** When its publisher gave it its present content; without it that is the first. */
  readonly revised_at?: string;
  /** It has taken the place of those before it with the same key. */
  readonly collapse_key?: string;
  readonly audience: "user" | "role" | "topic" | "everyone";
  readonly read_at: string | null;
  readonly seen_at: string | null;
  readonly archived_at: string | null;
  /** When it is back: only in a view of what is snoozed. */
  readonly snoozed_until?: string;
}

/** Of what lies in the inbox and is not archived, as the server tells them. */
export interface Counts {
  readonly unread: number;
  readonly unseen: number;
  readonly total: number;
}

export interface Problem {
  readonly code: string;
  readonly title: string;
  readonly detail?: string;
  /** Whether a retry can help. */
  readonly retryable: boolean;
}

/**
 * `connecting`: for the first time. `live`: what happens shows at once. `offline`: it comes back by itself, unless it was
 * stopped.
 * `refused`: it stays away until `start()` is called after `stop()`.
 */
export type Status = "connecting" | "live" | "offline" | "refused";

/** One moment of an inbox. It is never changed, and the same object as long as nothing is. */
export interface Snapshot {
  /** The newest first, without archived ones. An item is the same object as long as nothing about it changes. */
  readonly items: readonly Notification[];
  readonly counts: Counts | null;
  readonly status: Status;
  /** Why it is `refused` or `offline`. */
  readonly problem: Problem | null;
  /** Whether `loadMore()` would bring older ones. */
  readonly hasMore: boolean;
  /** Whose inbox it is, once the server has said so. */
  readonly user: {
    readonly id: string;
    readonly role: string;
    /** All of them, where the token may give several; `role` is the first. */
    readonly roles?: readonly string[];
  } | null;
}

export class InboxError extends Error {
  readonly problem: Problem;
  readonly code: string;
  readonly retryable: boolean;
  /** Milliseconds after which to try again, at the earliest. */
  readonly retryAfter: number;
  /** Of HTTP; 0 where there is none. */
  readonly status: number;
}

/** What is used of a socket of `socket.io-client`. */
export interface Socket {
  readonly connected: boolean;
  readonly active: boolean;
  auth: unknown;
  on(event: string, listener: (...args: any[]) => void): unknown;
  off(event: string, listener: (...args: any[]) => void): unknown;
  emit(event: string, ...args: any[]): unknown;
  connect(): unknown;
  disconnect(): this;
}

/**
 * The user's token, or nothing where nobody is signed in. It is called again when the server says that the last one has
 * expired, or is about to. Where the new one is another user's, or is no JWT that says whose, the inbox begins anew.
 */
export type GiveToken = () => string | null | undefined | Promise<string | null | undefined>;

interface CommonOptions {
  /** How many are listed at a time, 1 to 100; by default 20. */
  pageSize?: number;
  /** Milliseconds between two attempts to come back: at most `base`, then twice that, and so on up to `max`. */
  backoff?: { base?: number; max?: number };
  /** False: not before `start()` is called. */
  start?: boolean;
}

export interface StreamOptions extends CommonOptions {
  /** Where the server is; in a page it may be relative. */
  url: string | URL;
  token: GiveToken;
  /** The name of this device for operators, at most 64 characters. */
  device?: string;
  /**
   * False: a stream of its own. By default the tabs of a browser that speak for the same user share one, where the page is
   * served securely and the token is a JWT.
   */
  shareStream?: boolean;
  fetch?: typeof fetch;
  socket?: undefined;
}

export interface SocketOptions extends CommonOptions {
  /** Stays the page's own: it is connected where it is not, and never closed. */
  socket: Socket;
  /** Without it the socket has to be closed and come back, with a token of its own, when one expires. */
  token?: GiveToken;
}

export interface Filter {
  /**
   * By default what is not archived; `unread` and `read` are parts of that, and `all` has the archived ones too. What is
   * snoozed is in none but `snoozed`, each with `snoozed_until`.
   */
  state?: "all" | "unread" | "read" | "archived" | "snoozed";
  type?: string;
}

export interface ViewSnapshot {
  /** The newest first. */
  readonly items: readonly Notification[];
  readonly hasMore: boolean;
  /** False until the first page is there. */
  readonly isListed: boolean;
}

/** A list of an inbox, kept like the inbox itself. It goes on where the inbox is stopped and started. */
export interface View {
  getSnapshot(): ViewSnapshot;
  subscribe(listener: () => void): () => void;
  /** Rejects with InboxError. */
  loadMore(): Promise<void>;
  /** Nothing is listed for it any more. */
  close(): void;
}

/** Every method that changes something shows at once what will be, and takes it back where the server refuses. */
export interface Inbox extends Snapshot {
  /** For `useSyncExternalStore` and the like. */
  getSnapshot(): Snapshot;
  /** `listener` is called once for all changes of a moment, after them. */
  subscribe(listener: () => void): () => void;
  start(): void;
  /** Leave, and forget everything. For a sign-out, and for another user. */
  stop(): void;
  /** Rejects with InboxError. */
  loadMore(): Promise<void>;
  /**
   * Each of these gives how many really changed, of all that was sent together, and rejects with InboxError. Nobody has
   * to wait for it.
   */
  read(ids: Iterable<string>): Promise<{ changed: number }>;
  unread(ids: Iterable<string>): Promise<{ changed: number }>;
  seen(ids: Iterable<string>): Promise<{ changed: number }>;
  archive(ids: Iterable<string>): Promise<{ changed: number }>;
  unarchive(ids: Iterable<string>): Promise<{ changed: number }>;
  delete(ids: Iterable<string>): Promise<{ changed: number }>;
  /**
   * They leave every list and count until then, and are back at the top and unread, on every device. A text is of RFC
   * 3339; a number is milliseconds since 1970. A time that has passed puts nothing off, and has back what was. Throws
   * RangeError for what is no time.
   */
  snooze(ids: Iterable<string>, until: Date | string | number): Promise<{ changed: number }>;
  /** Those of them that are snoozed are back now, at the top and unread, on every device. */
  unsnooze(ids: Iterable<string>): Promise<{ changed: number }>;
  /** All that has come to this store by now, and all that is older. */
  readAll(): Promise<{ changed: number }>;
  /** At most 8 are open at once. Throws RangeError beyond, and TypeError for what is no filter. */
  view(filter?: Filter): View;
}

/** Keep the inbox of whoever the token, or the socket, speaks for. */
export function createInbox(options: StreamOptions | SocketOptions): Inbox;

/** One that a publisher gave in `data.actions`: the first three of them are shown. */
export interface Action {
  readonly id?: string;
  readonly label: string;
  /** Without one, or with another scheme than http, https, mailto and tel, only the event tells of it. */
  readonly url?: string;
}

/**
 * Texts by name, for another language or in other words; what is missing is the element's own. A text with a number in
 * it may have a form for each plural (`{ one: "{n} new", other: "{n} new" }`). `type:…` names a type of notification.
 * The names are those of docs/how-to/component.md.
 */
export type Messages = Record<string, string | Partial<Record<Intl.LDMLPluralRule, string>>>;

export interface InboxElementEvents {
  "synkrone-open": CustomEvent<{ open: boolean }>;
  "synkrone-counts": CustomEvent<Counts>;
  "synkrone-error": CustomEvent<Problem>;
  /** `action` is null where the notification itself was chosen. Prevented, the page is not left for its address. */
  "synkrone-action": CustomEvent<{ notification: Notification; action: Action | null }>;
}

/**
 * `<synkrone-inbox>`. It begins once it has a store of the page's own, a socket, or `src` and a token, and anew where one
 * of them becomes another. Its own store ends when it leaves the page.
 */
export class SynkroneInboxElement extends HTMLElement {
  /** Attribute `src`: where the server is. */
  src: string;
  /** Attribute `theme`: as the page's `color-scheme` says where there is none. */
  theme: "light" | "dark" | "";
  /** Attribute `open`. */
  open: boolean;
  token: GiveToken | null;
  socket: Socket | null;
  /** The one it has made where it was given none. */
  store: Inbox | null;
  messages: Messages | null;
  addEventListener<Name extends keyof InboxElementEvents>(
    type: Name,
    listener: (this: SynkroneInboxElement, event: InboxElementEvents[Name]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "synkrone-inbox": SynkroneInboxElement;
  }
}
