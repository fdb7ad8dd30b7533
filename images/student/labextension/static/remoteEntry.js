/*
 * The seat in Lab's status bar, notices about it and about submissions, and the class desk's panel.
 *
 * A prebuilt extension written by hand: the file is what a bundler would have made, a module-federation container with
 * init() and get(), so the image needs no Node and the page loads one small script. Everything that is said comes from
 * the user's server, in the class's language: gpuclass/noticeboard.py.
 */
"use strict";

(() => {
  const POLL_MS = 5000;
  const MESSAGE_LIMIT = 140; // Lab cuts longer messages off
  const SEEN = "gpuclass-seen-notices";
  const MORE = { ko: "자세히", en: "More" };
  const NOTICE = { ko: "알림", en: "Notice" };
  const PANEL = { ko: "내 수업", en: "My class" };
  const HAND = { ko: ["✋ 손 들기", "손 내리기"], en: ["✋ Raise my hand", "Lower my hand"] };
  // nbgrader shows why a submission failed in a <pre>, which cuts a sentence off at the dialog's edge.
  const SENTENCES_WRAP = "#submission-message pre { white-space: pre-wrap; font-family: inherit; line-height: 1.6 }";
  let scope;

  /** A package of Lab's own. A package that other extensions bring too is taken in the version that Lab brings. */
  async function shared(name) {
    const versions = Object.values(scope[name]);
    const entry = versions.find((found) => found.loaded) || versions[0];
    return (await entry.get())();
  }

  async function extension() {
    const [apputils, services, statusbar, translation, widgets] = await Promise.all(
      ["@jupyterlab/apputils", "@jupyterlab/services", "@jupyterlab/statusbar", "@jupyterlab/translation", "@lumino/widgets"].map(shared)
    );
    return {
      id: "gpuclass:seat",
      description: "The seat in the status bar, notices, and the class desk's panel",
      autoStart: true,
      optional: [statusbar.IStatusBar, translation.ITranslator],
      activate: (app, bar, translator) => activate(app, bar, translator, { apputils, services, widgets }),
    };
  }

  function activate(app, bar, translator, { apputils, services, widgets }) {
    const language = translator && translator.languageCode.startsWith("ko") ? "ko" : "en";
    const settings = app.serviceManager.serverSettings;
    const url = settings.baseUrl + "gpuclass/seat";
    const shown = new Map(); // id of a notice → Lab's id of its notification
    const seen = new Set(JSON.parse(sessionStorage.getItem(SEEN) || "[]")); // reloading the page repeats nothing
    let title = "";
    let details = "";
    document.head.append(Object.assign(document.createElement("style"), { textContent: SENTENCES_WRAP }));

    const item = new widgets.Widget({ node: document.createElement("button") });
    item.node.type = "button";
    item.node.style.cssText = "border:0;background:none;color:inherit;font:inherit;cursor:pointer;white-space:nowrap";
    item.node.addEventListener("click", () => explain(title, details));
    item.hide();
    if (bar) {
      bar.registerStatusItem("gpuclass:seat", { item, align: "left", rank: -10, priority: 1, isActive: () => details !== "" });
    }

    function explain(heading, text) {
      const body = new widgets.Widget();
      body.node.style.cssText = "white-space:pre-wrap;max-width:40em;line-height:1.6";
      body.node.textContent = text;
      void apputils.showDialog({ title: heading, body, buttons: [apputils.Dialog.okButton()] });
    }

    function notify(notice) {
      const long = notice.text.length > MESSAGE_LIMIT;
      const text = long ? notice.text.slice(0, MESSAGE_LIMIT - 1) + "…" : notice.text;
      const actions = long ? [{ label: MORE[language], callback: () => explain(NOTICE[language], notice.text) }] : [];
      const type = ["info", "warning", "error"].includes(notice.level) ? notice.level : "info";
      shown.set(notice.id, apputils.Notification.emit(text, type, { autoClose: false, actions }));
      seen.add(notice.id);
      sessionStorage.setItem(SEEN, JSON.stringify([...seen]));
    }

    function show(seat) {
      title = seat.title;
      details = seat.details;
      item.node.textContent = seat.text;
      item.node.title = `${title}\n${details}`;
      item.node.style.fontWeight = seat.close ? "bold" : "";
      item.node.style.color = seat.close ? "var(--jp-error-color1)" : "inherit";
      item.show();
      const current = new Set(seat.notices.map((notice) => notice.id));
      seat.notices.filter((notice) => !seen.has(notice.id)).forEach(notify);
      for (const [id, notification] of shown) {
        if (!current.has(id)) {
          apputils.Notification.dismiss(notification); // it no longer holds
          shown.delete(id);
        }
      }
    }

    async function ask() {
      try {
        const response = await services.ServerConnection.makeRequest(url, {}, settings);
        if (response.ok) {
          show(await response.json());
        }
      } catch {
        // The server is not reachable: Lab says so itself, and the next turn asks again.
      }
    }

    async function turn() {
      if (!document.hidden) {
        await ask();
      }
      setTimeout(turn, POLL_MS);
    }
    document.addEventListener("visibilitychange", () => void (document.hidden || ask()));
    void app.restored.then(turn);
    addPanel(app, language, { services, widgets });
  }

  /** My server, assignments and hand, as the class desk tells them; asked for only while somebody looks. */
  function addPanel(app, language, { services, widgets }) {
    const settings = app.serviceManager.serverSettings;
    const url = settings.baseUrl + "gpuclass/panel";
    const panel = new widgets.Widget();
    panel.id = "gpuclass-panel";
    panel.title.label = PANEL[language];
    panel.title.caption = PANEL[language];
    panel.node.style.cssText = "display:flex;flex-direction:column;background:var(--jp-layout-color1)";
    // No script runs in the frame and it has no origin: whatever stands there cannot act as the person who looks.
    const frame = document.createElement("iframe");
    frame.setAttribute("sandbox", "allow-popups allow-popups-to-escape-sandbox");
    frame.title = PANEL[language];
    frame.style.cssText = "flex:1;border:0;width:100%";
    // The button is Lab's own, as no form works in such a frame.
    const hand = Object.assign(document.createElement("button"), { type: "button", hidden: true });
    hand.className = "jp-mod-styled jp-mod-accept";
    hand.style.cssText = "margin:8px;flex:none";
    panel.node.append(hand, frame);
    let told = "";

    const send = (path, init) => services.ServerConnection.makeRequest(url + path, init, settings);
    async function look() {
      if (!panel.isVisible || document.hidden) {
        return;
      }
      try {
        const theme = document.body.dataset.jpThemeLight === "false" ? "dark" : "light";
        const html = (await (await send("", {})).text()).replace("<html ", `<html data-bs-theme="${theme}" `);
        if (html !== told) {
          told = html;
          frame.srcdoc = html;
          const state = /data-hand="(up|down)"/.exec(html);
          hand.hidden = !state; // the desk is away, or this is no student's
          hand.dataset.up = String(Boolean(state) && state[1] === "up");
          hand.textContent = HAND[language][hand.dataset.up === "true" ? 1 : 0];
        }
      } catch {
        // Lab itself says when its server is away.
      }
    }
    hand.addEventListener("click", async () => {
      hand.disabled = true;
      await send(hand.dataset.up === "true" ? "/hand/lower" : "/hand", { method: "POST" }).catch(() => null);
      await look();
      hand.disabled = false;
    });
    panel.onAfterShow = () => void look();
    setInterval(() => void look(), POLL_MS);
    app.shell.add(panel, "right", { rank: 100 });
  }

  (window._JUPYTERLAB = window._JUPYTERLAB || {}).gpuclass = {
    init: (shareScope) => {
      scope = shareScope;
    },
    get: async (name) => {
      if (name !== "./extension") {
        throw new Error(`gpuclass has no module ${name}`);
      }
      const plugin = await extension();
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
