import { BASE } from "../lib/base";
import type { ServerEvent } from "../types/events";

export interface SocketHandlers {
  onEvent: (event: ServerEvent) => void;
  onOpen: () => void;
  onClose: () => void;
}

/** Where live events come from; tests put their own in its place. */
export interface Transport {
  connect: (handlers: SocketHandlers) => void;
  /** Goes on at once where the next attempt is being waited for. */
  retry: () => void;
  close: () => void;
}

const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 30_000;

/** Reconnects for ever, 0.5 s to 30 s apart, with jitter so that many pages do not return at once. */
export function webSocketTransport(url: string): Transport {
  let socket: WebSocket | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let next: (() => void) | null = null;
  let attempts = 0;
  let closed = false;

  function open(handlers: SocketHandlers): void {
    const current = new WebSocket(url);
    socket = current;
    current.onopen = () => {
      attempts = 0;
      handlers.onOpen();
    };
    current.onmessage = (message: MessageEvent<string>) => handlers.onEvent(JSON.parse(message.data) as ServerEvent);
    current.onclose = () => {
      if (closed) return;
      handlers.onClose();
      const delay = Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempts) * (0.75 + Math.random() / 2);
      attempts += 1;
      next = () => {
        clearTimeout(timer);
        next = null;
        open(handlers);
      };
      timer = setTimeout(next, delay);
    };
  }

  return {
    connect: open,
    retry: () => next?.(),
    close: () => {
      closed = true;
      clearTimeout(timer);
      socket?.close();
    },
  };
}

/** The same feed, with a second listener to its events. */
export function overheard(transport: Transport, listener: SocketHandlers["onEvent"]): Transport {
  return {
    ...transport,
    connect: (handlers) =>
      transport.connect({
        ...handlers,
        onEvent: (event) => {
          listener(event);
          handlers.onEvent(event);
        },
      }),
  };
}

export function eventsUrl(base: URL = BASE): string {
  const url = new URL("api/v1/events?batch=true", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
