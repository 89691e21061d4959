/** The key that goes with a letter for a command, as it is written on this machine's keyboard. */
export const MOD_KEY = /mac|iphone|ipad/i.test(navigator.userAgent) ? "⌘" : "Ctrl";
