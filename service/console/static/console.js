// What HTMX leaves to us; every page works without it.
"use strict";

// A form of choices that is marked `data-live` is sent as soon as one changes; its button is for keyboards without this script.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-live]");
  if (form) form.requestSubmit();
});

// A button that was pressed is not pressed twice.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  const button = event.target.querySelector("button[type=submit]");
  setTimeout(() => button && (button.disabled = true));
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button[disabled]")) button.disabled = false;
});

// Figures that are asked for again and again wait while nobody looks.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.target.hasAttribute("data-live-figures")) event.preventDefault();
});
