// Places and times in words; the same as in gpuclass/queue/words.py, which a test compares.
const said = {{ words | tojson }};
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
function duration(seconds) {
  if (seconds === null || seconds === undefined) return said["time-unknown"];
  if (seconds < {{ limits.soon }}) return said["time-soon"];
  if (seconds <= {{ limits.seconds }}) return fill(said["time-seconds"], { n: 10 * Math.ceil(seconds / 10) });
  if (seconds > {{ limits.minutes }}) return said["time-hour"];
  return fill(said["time-minutes"], { n: Math.ceil(seconds / 60) });
}
function place(ahead) {
  if (ahead <= 0) return said["ahead-none"];
  return ahead === 1 ? said["ahead-one"] : fill(said["ahead-many"], { ahead });
}
function left(seconds) {
  if (seconds === null || seconds === undefined) return said["left-unknown"];
  return seconds < {{ limits.soon }} ? said["left-soon"] : fill(said["left"], { time: duration(seconds) });
}
