// Follows the board: replaces the tiles that changed and keeps their order. The HTML is the desk's own, escaped there.
(() => {
  const board = document.getElementById("board");
  const away = document.getElementById("away");
  const only = document.getElementById("only-help");
  const KEY = "desk-only-help";
  const AGAIN_MS = 3000;

  only.checked = sessionStorage.getItem(KEY) === "yes";
  const filter = () => board.classList.toggle("only-help", only.checked);
  only.addEventListener("change", () => {
    sessionStorage.setItem(KEY, only.checked ? "yes" : "no");
    filter();
  });
  filter();

  const tile = (login) => document.getElementById(`tile-${login}`);

  function put(login, html) {
    const made = document.createRange().createContextualFragment(html).firstElementChild;
    const old = tile(login);
    const focused = old !== null && old === document.activeElement;
    if (old) old.replaceWith(made);
    else board.append(made);
    if (focused) made.focus();
  }

  function show(told) {
    for (const [login, html] of Object.entries(told.tiles)) put(login, html.trim());
    for (const login of told.gone) tile(login)?.remove();
    if (told.order) {
      const focused = document.activeElement;
      told.order.forEach((login, place) => {
        const found = tile(login);
        if (found && board.children[place] !== found) board.insertBefore(found, board.children[place] ?? null);
      });
      if (focused !== document.activeElement) focused?.focus?.();
    }
    if (told.totals !== null) document.getElementById("totals").innerHTML = told.totals;
  }

  function follow() {
    const stream = new EventSource(board.dataset.stream);
    stream.addEventListener("board", (event) => {
      away.hidden = true;
      show(JSON.parse(event.data));
    });
    stream.addEventListener("away", () => (away.hidden = false));
    stream.onopen = () => (away.hidden = true);
    stream.onerror = () => {
      away.hidden = false;
      if (stream.readyState !== EventSource.CLOSED) return; // it tries again by itself
      setTimeout(async () => {
        const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
        if (answer && (answer.status === 401 || answer.redirected)) location.reload(); // the log-in has ended
        else follow();
      }, AGAIN_MS);
    };
    addEventListener("pagehide", () => stream.close(), { once: true });
  }
  follow();
})();
