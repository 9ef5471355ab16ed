/* Runs in a notebook, where "this" is the frame: the page within learns whether the text around it is
   light, as on dark grounds, and the frame becomes as high as the page says that it is. */
const tell = () => {
  const ink = getComputedStyle(this.parentElement).color.match(/^rgba?\((\d+), (\d+), (\d+)/);
  if (!ink) return;
  const light = 0.2126 * ink[1] + 0.7152 * ink[2] + 0.0722 * ink[3] > 127;
  this.contentWindow.postMessage({ scheme: light ? "dark" : "light" }, "*");
};
if (!this.told) {
  this.told = true;
  window.addEventListener("message", ({ source, data }) => {
    if (this.contentWindow && source === this.contentWindow && data?.height > 0) {
      this.height = Math.min(data.height, 6000);
    }
  });
  const themes = new MutationObserver(() => (this.isConnected ? tell() : themes.disconnect()));
  for (const element of [document.documentElement, document.body]) {
    themes.observe(element, { attributes: true });
  }
}
tell();
