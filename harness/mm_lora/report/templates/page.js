"use strict";
(() => {
  const $ = (query) => document.querySelector(query);
  const all = (query) => [...document.querySelectorAll(query)];

  for (const button of all("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.previousElementSibling;
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "selected";
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }

  const open = (element) => {
    for (let one = element; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  };

  const form = $("form.tools");
  const search = $("#q");
  const buttons = all("button.only");
  const groups = all("details.group").map((group) => ({
    group,
    checks: [...group.querySelectorAll("details.k")].map((check) => ({
      check,
      outcome: check.dataset.o,
      text: check.textContent.toLowerCase(),
    })),
  }));
  const chosen = new Set();

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const active = words.length > 0 || chosen.size > 0;
    let found = 0;
    for (const { group, checks } of groups) {
      let here = 0;
      for (const { check, outcome, text } of checks) {
        const hit = (!chosen.size || chosen.has(outcome)) && words.every((word) => text.includes(word));
        check.hidden = !hit;
        here += hit;
      }
      group.hidden = !here;
      group.open = active && here > 0;
      found += here;
    }
    for (const button of buttons) button.setAttribute("aria-pressed", chosen.has(button.dataset.o));
    $("#found").textContent = active ? `${found} checks` : "";
    return active;
  }

  /* The address after # is the id of a check, or ?q=words&show=outcome,outcome. */
  function store() {
    const told = new URLSearchParams();
    if (search.value) told.set("q", search.value);
    if (chosen.size) told.set("show", [...chosen].join(","));
    history.replaceState(null, "", told.size ? `#?${told}` : "#checks");
    filter();
  }

  function follow() {
    const place = decodeURIComponent(location.hash.slice(1));
    if (form && place.startsWith("?")) {
      const told = new URLSearchParams(place.slice(1));
      search.value = told.get("q") || "";
      chosen.clear();
      for (const outcome of (told.get("show") || "").split(",")) if (outcome) chosen.add(outcome);
      filter();
      $("#checks").scrollIntoView();
    } else if (place) {
      const target = document.getElementById(place);
      if (!target) return;
      if (target.hidden || target.closest("[hidden]")) {
        search.value = "";
        chosen.clear();
        filter();
      }
      open(target);
      target.scrollIntoView();
    }
  }

  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    search.addEventListener("input", store);
    for (const button of buttons) {
      button.addEventListener("click", () => {
        const outcome = button.dataset.o;
        if (!chosen.delete(outcome)) chosen.add(outcome);
        store();
      });
    }
    $("#all").addEventListener("click", () => {
      search.value = "";
      chosen.clear();
      store();
      for (const { group } of groups) group.open = true;
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName) && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        $("#checks").scrollIntoView();
        search.focus({ preventScroll: true });
      } else if (event.key === "Escape" && event.target === search) {
        search.value = "";
        store();
      }
    });
  }
  addEventListener("hashchange", follow);
  follow();
  addEventListener("beforeprint", () => { for (const one of all("details.full, details.model")) one.open = true; });
})();
