// Keys: everything they do can also be done with the links on the page.
"use strict";
const items = () => [...document.querySelectorAll(".item")];
let current = -1;

function move(step) {
  const list = items();
  if (!list.length) return;
  current = Math.max(0, Math.min(list.length - 1, current + step));
  list[current].focus({ preventScroll: true });
  list[current].scrollIntoView({ block: "nearest" });
}

function follow(selector) {
  const link = document.querySelector(selector);
  if (link) link.click();
}

const actions = {
  j: () => move(1),
  k: () => move(-1),
  ArrowLeft: () => follow("a[rel=prev]"),
  ArrowRight: () => follow("a[rel=next]"),
  "/": () => document.getElementById("search").focus(),
  "?": () => document.getElementById("keys").showModal(),
  r: () => { location.href = document.querySelector("a.random")?.href ?? `/random/${kind()}`; },
  t: () => follow("a.toggle"),
};

function kind() {
  const place = location.pathname.split("/")[1];
  return { window: "window", windows: "window", image: "image", images: "image" }[place] ?? "document";
}

// A long pane opens where the window begins, and the list of rules at the chosen one.
for (const box of document.querySelectorAll(".at-window, aside")) {
  const place = box.querySelector(".node.in, .current");
  if (place) box.scrollTop += place.getBoundingClientRect().top - box.getBoundingClientRect().top - 48;
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.getElementById("keys").open) return;
  if (event.key === "Enter" && event.target.matches(".item")) return event.target.querySelector("a[href]")?.click();
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});
