// Runs in each page that the proxy of `browser.rs` sends. TOKEN and WIDTH are replaced there.
"use strict";
(async () => {
  const errors = [];
  const check = (holds, text) => { if (!holds) errors.push(text); };
  addEventListener("error", (event) => errors.push(`script: ${event.message}`));
  addEventListener("unhandledrejection", (event) => errors.push(`promise: ${event.reason}`));
  document.addEventListener("securitypolicyviolation", (event) => errors.push(`policy: ${event.violatedDirective}`));
  const report = (phase, found = {}) =>
    fetch("/test/result", { method: "POST", body: JSON.stringify({ phase, errors, ...found }) });

  // Waits until a condition holds. The page has a minute as a whole; the test ends then.
  const until = async (what, holds) => {
    for (let turn = 0; !holds(); turn++) {
      if (turn === 400) {
        check(false, `not within 20 seconds: ${what}`);
        throw new Error(what);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };

  const visible = (node) => node.getClientRects().length > 0;
  const name = (node) => `${node.tagName} ${node.id || node.name || node.textContent.trim()}`;
  // Checks the layout, and returns how many touch targets there are.
  const layout = () => {
    check(innerWidth === WIDTH, `the window is ${innerWidth} wide`);
    check(document.documentElement.scrollWidth <= innerWidth, `the page is ${document.documentElement.scrollWidth} wide`);
    let targets = 0;
    for (const node of document.querySelectorAll("button, input, summary, a, select, textarea")) {
      if (!visible(node)) continue;
      targets += 1;
      const { width, height, left, right } = node.getBoundingClientRect();
      check(width >= 44 && height >= 44, `${name(node)} is ${width} by ${height}`);
      check(left >= 0 && right <= innerWidth, `${name(node)} is outside of the window`);
      const label = node.ariaLabel || node.labels?.[0]?.textContent || (node.tagName === "INPUT" ? "" : node.textContent);
      check(label.trim() !== "", `${name(node)} has no label`);
    }
    for (const node of document.querySelectorAll("progress")) check(node.labels.length === 1, "the progress has no label");
    const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
    check(new Set(ids).size === ids.length, "an id is used twice");
    for (const node of document.querySelectorAll("[aria-labelledby]")) {
      check(document.getElementById(node.getAttribute("aria-labelledby")), `${name(node)} is labelled by nothing`);
    }
    return targets;
  };

  const card = (slug) => document.getElementById(`tenant-${slug}`);
  const fill = (form, values) => {
    for (const [field, value] of Object.entries(values)) form.elements[field].value = value;
    form.requestSubmit();
  };

  const session = document.body.dataset.session;
  if (session !== "open") {
    const phase = session === "closed" ? "sign-in" : session;
    check(layout() === 2, "the sign-in form has an input and a button");
    check(document.querySelectorAll("article").length === 0, "there are tenants on the sign-in form");
    await report(phase);
    fill(document.getElementById("sign-in"), { token: phase === "wrong" ? TOKEN : "a wrong token" });
    return;
  }
  try {
    await until("the page is loaded", () => document.body.dataset.loaded === "true");
    check(document.getElementById("problem").textContent === "", document.getElementById("problem").textContent);
    check(!document.cookie.includes("operator"), "a script reads the cookie");
    for (const details of document.querySelectorAll("details")) details.open = true;
    layout();
    await report("page");

    const left = () => document.getElementById("move-globex");
    check(left()?.dataset.state === "stopped", "the move of globex is not shown");
    const buttons = [...left().querySelectorAll("button")];
    check(buttons.map((node) => node.textContent).join() === "Go on,Roll back", `the move of globex: ${left().textContent}`);
    buttons[1].click();
    await until("the move of globex is rolled back", () => left() === null);

    const message = "<b>Back</b> at 14:00.";
    fill(card("acme").querySelector("form"), { reason: "ticket 17, <i>see</i> https://example.com/a-very-long-word-".repeat(4), message });
    await until("acme is suspended", () => card("acme").dataset.status === "suspended");
    check(card("acme").textContent.includes(message), "the message is shown as text");
    check(card("acme").querySelector("b, i") === null, "the message is markup");
    check(document.activeElement.closest("article") === card("acme"), "the focus is not on the changed tenant");
    fill(card("globex").querySelector("form"), { reason: "a mistake" });
    await until("globex is suspended", () => card("globex").dataset.status === "suspended");
    fill(card("globex").querySelector("form"), { reason: "it was a mistake" });
    await until("globex is resumed", () => card("globex").dataset.status === "active");

    document.getElementById("migrate").click();
    await until("the migrations ran", () => document.getElementById("migration-state").textContent.startsWith("Every place is up to date."));
    const bar = document.getElementById("migration-bar");
    check(bar.value === bar.max, `the progress is ${bar.value} of ${bar.max}`);
    const places = [...document.querySelectorAll("#places > li")].map((place) => place.textContent);
    check(places.length === 2 && places.every((place) => place.includes("current")), `places: ${places}`);

    const moving = () => card("umbrella").querySelector("details:has(form.move)");
    const begin = () => moving().querySelector("button.main");
    moving().open = true;
    moving().querySelector("select").value = "shared";
    moving().querySelector("form").requestSubmit();
    await until("the plan is shown", begin);
    check(moving().textContent.includes("to the shared tables:") && moving().textContent.includes("9 rows"), `the plan: ${moving().textContent}`);
    layout();
    begin().click();
    await until("umbrella is moved", () => document.getElementById("move-umbrella")?.dataset.state === "done");
    await until("its card has the new place", () => card("umbrella").querySelector("dl").textContent.includes("shared tables"));
    for (const details of document.querySelectorAll("details")) details.open = true;
    const targets = layout();
    const tenants = Object.fromEntries(["acme", "globex", "umbrella"].map((slug) => [slug, card(slug).dataset.status]));
    const note = document.getElementById("doctor-note").textContent;
    const doctor = note.startsWith("Examined") ? "examined" : note.includes("examines PostgreSQL") ? "PostgreSQL" : note;
    await report("end", { targets, tenants, doctor });
  } catch (error) {
    check(false, String(error));
    await report("end");
  }
})();
