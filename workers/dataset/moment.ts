/** `2026-10-30 09:15:00 UTC`: the one way in which a moment is written for people; JSON has ISO 8601 with milliseconds. */
export const momentText = (date: string): string => `${date.slice(0, 19).replace('T', ' ')} UTC`;
