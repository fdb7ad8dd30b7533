// The queue on one page: what the hub's event stream says, in large letters; and back again when the stream breaks.
(() => {
  const $ = (id) => document.getElementById(id);
  const STREAM = {{ progress_url | tojson }};
  const SAY_EVERY_MS = 15_000; // a screen reader hears a changed place no more often
  const QUEUE_SHARE = 50; // per cent of the bar that the queue takes; the start itself takes the rest
  const LOG_LINES = 50;
  // The proxy keeps a stream open whose hub was killed. A silent stream is opened anew: the first thing that it says is
  // where one stands. Pages differ, so that eighty do not ask at the same moment.
  const SILENT_MS = 15_000 * (0.75 + 0.5 * Math.random());
  const FIRST = `gpuclass-first-${hub.user}`; // how many were ahead when this queue began, over reloads
  const CLASS = {{ class_title | tojson }};
  let stream;
  let now = { state: "starting", why: "", ahead: 0, seconds: null, gpu: false };
  let heardAt = Date.now(); // when `now` was true
  let aliveAt = Date.now(); // when the stream said anything
  let spokenAt = 0;
  let spoken = "";
  let shown = 0;
  let busy = false; // a button was pressed: the stream no longer decides what is shown

  const title = (state) => said[`title-${state}`];

  function speak(text, at_once) {
    if (text === spoken || (!at_once && Date.now() - spokenAt < SAY_EVERY_MS)) return;
    spoken = text;
    spokenAt = Date.now();
    $("queue-say").textContent = text;
  }

  function bar(percent) {
    shown = Math.max(shown, Math.min(100, Math.round(percent)));
    $("progress-bar").style.width = `${shown}%`;
    $("queue-bar").setAttribute("aria-valuenow", shown);
  }

  function step(number) {
    document.querySelectorAll("#queue-steps li").forEach((item, index) => {
      item.classList.toggle("done", index < number);
      if (index === number) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    });
  }

  function show(state, { place: where = "", left: time = "", hint = said[`hint-${state}`] ?? "" } = {}) {
    const page = $("queue");
    const changed = page.dataset.state !== state;
    page.dataset.state = state;
    $("queue-title").textContent = title(state);
    $("queue-place").textContent = where;
    $("queue-left").textContent = time;
    $("queue-hint").textContent = hint;
    $("queue-place").hidden = !where;
    $("queue-left").hidden = !time;
    $("queue-hint").hidden = !hint;
    const waits = ["start", "seat", "unknown-devices", "too-large", "engine"].includes(state);
    const to_cpu = waits && now.gpu && ["seat", "unknown-devices", "too-large"].includes(state);
    $("cpu").hidden = !to_cpu;
    $("cpu-means").hidden = !to_cpu;
    $("cancel").hidden = !(waits || state === "starting");
    document.title = `${where || title(state)} · ${CLASS}`;
    speak([title(state), where, time].filter(Boolean).join(". "), changed);
  }

  function queued() {
    const seconds = now.seconds === null ? null : Math.max(0, now.seconds - (Date.now() - heardAt) / 1000);
    const first = Math.max(Number(sessionStorage.getItem(FIRST) ?? 0), now.ahead);
    sessionStorage.setItem(FIRST, first);
    step(0);
    bar((QUEUE_SHARE * (first - now.ahead)) / (first + 1));
    const moves = ["start", "seat"].includes(now.why); // else nobody is let in, and "you are next" would promise too much
    show(now.why, { place: moves || now.ahead ? place(now.ahead) : "", left: moves ? left(seconds) : "" });
  }

  function starting(event) {
    const from = sessionStorage.getItem(FIRST) === null ? 0 : QUEUE_SHARE;
    step(1);
    bar(from + ((100 - from) * (event.progress ?? 0)) / 100);
    show("starting", { left: event.message ?? "" });
  }

  function log(text) {
    if (!text || $("progress-log").lastChild?.textContent === text) return;
    const line = document.createElement("li");
    line.textContent = text;
    $("progress-log").append(line);
    if ($("progress-log").children.length > LOG_LINES) $("progress-log").firstChild.remove();
  }

  function hear(event) {
    if (busy) return;
    if (event.ready) {
      stream.close();
      sessionStorage.removeItem(FIRST);
      step(2);
      bar(100);
      show("ready");
      location.reload(); // the hub sends a ready server's owner on, to where they wanted to go
    } else if (event.failed) {
      stream.close();
      sessionStorage.removeItem(FIRST);
      location.reload(); // the page after a failure has the reason and what to do
    } else if (event.gpuclass?.state === "queued") {
      now = event.gpuclass;
      heardAt = Date.now();
      log(event.message);
      queued();
    } else if (event.gpuclass) {
      now = { ...event.gpuclass, why: "" };
      log(event.message);
      starting(event);
    } // else JupyterHub's own first event, in English: it says nothing that the page does not
  }

  function listen() {
    aliveAt = Date.now();
    stream = new EventSource(STREAM);
    stream.onmessage = (event) => {
      aliveAt = Date.now();
      hear(JSON.parse(event.data));
    };
    stream.onerror = reconnect;
  }

  async function reconnect() {
    stream.close(); // the browser's own retry gives up at the first answer that is not a stream
    if (busy) return;
    aliveAt = Infinity;
    await hub.sleep(300 + 700 * Math.random());
    let found = await hub.server();
    if (found === null && !busy) show("reconnecting", { place: now.why ? place(now.ahead) : "" });
    found ??= await hub.until(() => true, { every: 2000 });
    if (busy) return;
    if (found?.pending === "spawn") listen();
    else location.reload(); // ready, failed, or forgotten: the hub's page for that knows what to do
  }

  async function press(state, work) {
    busy = true;
    stream.close();
    sessionStorage.removeItem(FIRST);
    $("queue-error").hidden = true;
    show(state);
    try {
      await work();
    } catch {
      busy = false;
      $("queue-error").hidden = false;
      reconnect();
    }
  }

  $("cpu").addEventListener("click", () =>
    press("switching", async () => {
      await hub.stop();
      hub.remember({ gpu: false });
      await hub.start({ gpu: false });
      location.reload();
    }),
  );
  $("cancel").addEventListener("click", () => {
    if (!confirm(said["cancel-sure"])) return;
    press("stopping", async () => {
      await hub.stop();
      location.assign(`${hub.base}home`);
    });
  });

  setInterval(() => {
    if (Date.now() - aliveAt > SILENT_MS) reconnect();
    if (!busy && now.why && $("queue").dataset.state === now.why) queued(); // the estimate runs down between events
  }, 1000);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload(); // the browser's Back button shows a page as it was, its stream long closed
  });
  listen();
})();
