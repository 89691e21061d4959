/** What the server takes of tags and notes: counts and characters. */
export const MAX_TAGS = 20;
export const MAX_TAG_LENGTH = 50;
export const MAX_NOTE_LENGTH = 10_000;
