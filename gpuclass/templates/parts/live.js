// Keeps the figures on the cards fresh while somebody thinks; goes along when the server was started in another tab.
(() => {
  // A page costs the hub 10 to 30 ms, and a whole class may sit here until the teacher says go: not all at once.
  const EVERY_MS = 30_000 * (0.75 + 0.5 * Math.random());
  async function refresh() {
    if (document.hidden) return;
    const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
    if (!answer?.ok) return; // the hub restarts: what is shown stays until the next try
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.getElementById("spawn_form")) return void location.reload();
    document.querySelectorAll("[data-live]").forEach((item) => {
      const text = fresh.getElementById(item.id)?.textContent;
      if (text !== undefined && text !== item.textContent) item.textContent = text;
    });
  }
  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
  document.getElementById("spawn_form").addEventListener("submit", (event) => {
    // Not disabled: a disabled button's value would not be sent. A second press is only swallowed.
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => delete document.getElementById("spawn_form").dataset.sent);
})();
