"use strict";
// Refresh, keys and the theme.  Nothing here is needed to read a page.
(() => {
  const root = document.documentElement;
  const every = Math.max(10, Number(root.dataset.every)) * 1000;
  let etag = null, heard = Date.now();

  // --- refresh: asks by fetch whether anything changed; the document itself comes by XMLHttpRequest, which builds it
  // without a Trusted Types sink.
  async function refresh() {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { cache: "no-cache", headers: etag ? { "If-None-Match": etag } : {} });
      if (!answer.ok && answer.status !== 304) throw new Error(answer.status);
      const now = answer.headers.get("etag");
      heard = Date.now();
      stale(false);
      if (answer.status !== 304 && etag && now !== etag) replace();
      etag = now;
    } catch { /* told by the banner below */ }
    stale(Date.now() - heard > 2.5 * every);
  }
  function stale(is) {
    const banner = document.querySelector(".stale");
    if (banner) banner.hidden = !is;
  }
  function replace() {
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.open("GET", location.href);
    request.onload = () => {
      if (request.status !== 200 || !request.response) return;
      const active = document.activeElement;
      if (active && active.matches("input, select")) return;
      const opened = [...document.querySelectorAll("main details")].map((each) => each.open);
      for (const part of ["main", "footer.bottom"]) {
        const fresh = request.response.querySelector(part);
        if (fresh) document.querySelector(part).replaceWith(document.adoptNode(fresh));
      }
      [...document.querySelectorAll("main details")].forEach((each, at) => { each.open = Boolean(opened[at]); });
      document.title = request.response.title;
      document.dispatchEvent(new Event("replaced"));
    };
    request.send();
  }
  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
  refresh();

  // --- theme
  const button = document.querySelector("button.theme");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* for this page, then */ }
      document.dispatchEvent(new Event("themed"));
    });
  }

  // --- keys
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "/") {
      const filter = document.querySelector(".filter input[name=q]");
      if (filter) { event.preventDefault(); filter.focus(); filter.select(); }
    } else if (event.key === "?") {
      const keys = document.querySelector("dialog.keys");
      if (keys.open) keys.close(); else keys.showModal();
    } else if (/^[1-6]$/.test(event.key)) {
      const range = document.querySelectorAll(".chart-section .ranges a")[Number(event.key) - 1];
      if (range) range.click();
    }
  });
})();
