"use strict";

/* Runs in a page that a notebook holds in a frame: follows the light around it, and says how high
   the page is. */
(() => {
  const say = () => {
    const height = Math.ceil(document.body.getBoundingClientRect().height);
    parent.postMessage({ height }, "*");
  };

  addEventListener("message", ({ source, data }) => {
    if (source !== parent) return;
    if (data?.scheme === "dark" || data?.scheme === "light") {
      document.documentElement.style.colorScheme = data.scheme;
      dispatchEvent(new CustomEvent("scheme", { detail: data.scheme }));
    }
    say();
  });
  new ResizeObserver(say).observe(document.body);
})();
