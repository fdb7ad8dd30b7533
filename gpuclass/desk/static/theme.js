// Light or dark: as the device is set, until somebody chooses; the choice stays in this browser.
(() => {
  const KEY = "desk-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = localStorage.getItem(KEY) || (dark.matches ? "dark" : "light");
    document.documentElement.setAttribute("data-bs-theme", chosen);
  };
  apply();
  dark.addEventListener("change", apply);
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", () => {
      const now = document.documentElement.getAttribute("data-bs-theme");
      localStorage.setItem(KEY, now === "dark" ? "light" : "dark");
      apply();
    });
  });
})();
