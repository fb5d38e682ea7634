/** Times of recordings in writing. */

/** Return seconds as "1:02" or "1:00:02". */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Return segments as a file of subtitles. @param {{start: number, end: number, text: string}[]} segments */
export function srt(segments) {
  return segments
    .map(({ start, end, text }, index) => `${index + 1}\n${stamp(start)} --> ${stamp(end)}\n${text.trim()}\n`)
    .join("\n");
}

function stamp(seconds) {
  const ms = Math.round(1000 * seconds);
  const part = (divisor, modulus, digits) => String(Math.floor(ms / divisor) % modulus).padStart(digits, "0");
  return `${part(3600000, 100, 2)}:${part(60000, 60, 2)}:${part(1000, 60, 2)},${part(1, 1000, 3)}`;
}
