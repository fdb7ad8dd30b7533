// Goes on by itself where somebody was: a place that the hub kept over its restart, or a change to the CPU half done.
(async () => {
  const kept = {{ kept | tojson }};
  const options = hub.remembered() ?? (kept && { gpu: kept.gpu });
  if (!options) return;
  const wanted = new URL(document.getElementById("start")?.href ?? location.href).search; // ?next=… of where they came from
  const page = document.getElementById("queue");
  page.dataset.state = "resuming";
  document.getElementById("queue-title").textContent = said["title-resuming"];
  document.getElementById("queue-hint").textContent = said["hint-resuming"];
  document.querySelectorAll("[data-unless-resuming]").forEach((item) => (item.hidden = true));
  try {
    await hub.start(options);
    location.assign(`${hub.base}spawn-pending/${encodeURIComponent(hub.user)}${wanted}`);
  } catch {
    document.getElementById("queue-title").textContent = said["title-failed"];
    document.getElementById("queue-hint").textContent = said["not-done"];
    document.querySelectorAll("[data-unless-resuming]").forEach((item) => (item.hidden = false));
  }
})();
