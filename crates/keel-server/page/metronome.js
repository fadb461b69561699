// Beats in a worker: the timers of a page that is hidden may stand still, those of a worker do not.

let beat;
onmessage = ({ data: everyMs }) => {
  clearInterval(beat);
  if (everyMs > 0) beat = setInterval(() => postMessage(0), everyMs);
};
