// What the queue's pages ask of JupyterHub's API, and how they get through a restart of the hub.
const hub = (() => {
  const { base_url: base, user, xsrf_token: xsrf } = window.jhdata;
  const me = `${base}api/users/${encodeURIComponent(user)}`;
  const CHOSEN = `gpuclass-choice-${user}`; // survives a reload between stopping and starting again
  const CHOSEN_FOR_MS = 60_000;

  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

  const ANSWER_WITHIN_MS = 10_000;

  const call = (method, url, body, signal) =>
    fetch(`${url}?_xsrf=${encodeURIComponent(xsrf)}`, {
      method,
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal,
    });

  // The hub's model of the own server; undefined: there is none; null: the hub does not answer.
  // A hub that no longer knows who asks (401, 403) shows its login page after a reload.
  async function server() {
    let answer;
    const patience = new AbortController(); // a hub that hangs looks like one that is not there
    const timer = setTimeout(() => patience.abort(), ANSWER_WITHIN_MS);
    try {
      answer = await call("GET", me, undefined, patience.signal);
    } catch {
      return null;
    } finally {
      clearTimeout(timer);
    }
    if (answer.status === 401 || answer.status === 403) location.reload();
    if (!answer.ok) return null;
    return (await answer.json()).servers[""];
  }

  // Asks until the answer fits. Eighty pages must not ask at the same moment: hence the random part.
  async function until(fits, { every = 1000, tries = Infinity } = {}) {
    for (let n = 0; n < tries; n += 1) {
      const found = await server();
      if (found !== null && fits(found)) return found;
      await sleep(every * (0.75 + 0.5 * Math.random()) * Math.min(1 + n / 10, 5));
    }
    throw new Error("the hub did not come to it");
  }

  async function stop() {
    sessionStorage.removeItem(CHOSEN);
    await call("DELETE", `${me}/server`); // a refusal is judged by what becomes of the server
    await until((found) => found === undefined, { tries: 30 });
  }

  // Starts the server and returns when it is on its way. The hub answers only after seconds: nobody waits for that.
  async function start(options) {
    let refused;
    call("POST", `${me}/server`, options).then(
      (answer) => (refused = answer.ok ? undefined : answer.status),
      () => undefined,
    );
    await until(
      (found) => {
        if (found === undefined && refused !== undefined) throw new Error(`HTTP ${refused}`);
        return found !== undefined && found.pending !== "stop";
      },
      { every: 400, tries: 40 },
    );
    sessionStorage.removeItem(CHOSEN);
  }

  const remember = (options) => sessionStorage.setItem(CHOSEN, JSON.stringify({ options, at: Date.now() }));
  function remembered() {
    const kept = JSON.parse(sessionStorage.getItem(CHOSEN) ?? "null");
    return kept && Date.now() - kept.at < CHOSEN_FOR_MS ? kept.options : null;
  }

  return { base, user, sleep, server, until, stop, start, remember, remembered };
})();
