// What keeps some people from using a page as it is now: a list of sentences, each with the element it is about.
() => {
  const found = [];
  const say = (what, element) => found.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const every = (selector) => [...document.querySelectorAll(selector)];
  const referred = (element, name) => (element.getAttribute(name) || "").split(" ").filter(Boolean);

  // Built for those who do not see it
  const isNamed = (element) =>
    (element.getAttribute("aria-label") || "").trim()
    || [...(element.labels || [])].some((label) => label.textContent.trim())
    || referred(element, "aria-labelledby").some((id) => document.getElementById(id)?.textContent.trim())
    || (/^(A|BUTTON|SUMMARY)$/.test(element.tagName) && element.textContent.trim());
  for (const element of every("input:not([type=hidden], [hidden]), select, textarea, button, a[href], summary")) {
    if (!isNamed(element)) say("no name", element);
  }
  for (const element of every("svg:not([aria-hidden=true])")) {
    if (element.getAttribute("role") !== "img" || !(isNamed(element) || element.querySelector("title"))) say("a picture without a name", element);
  }
  for (const element of every("img:not([alt])")) say("a picture without words", element);
  for (const element of every("th:not([scope])")) say("a heading of nothing", element);
  for (const element of every("[style]")) say("a style of its own", element);
  for (const element of every("form[method=post]:not([action$=sign-in])")) {
    if (!element.querySelector("[name=csrf]")) say("no token", element);
  }
  for (const element of every("[aria-describedby], [aria-labelledby]")) {
    const ids = [...referred(element, "aria-describedby"), ...referred(element, "aria-labelledby")];
    if (ids.some((id) => !document.getElementById(id))) say("refers to nothing", element);
  }
  const ids = every("[id]").map((element) => element.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) < at))) found.push(`an id twice: ${id}`);
  for (const one of ["head > title", "h1", "main", "body > header", "body > footer"]) {
    if (every(one).length !== 1) found.push(`${every(one).length} of ${one}`);
  }
  if (document.documentElement.lang !== "en") found.push("no language");
  const levels = every("h1, h2, h3, h4, h5").map((element) => Number(element.tagName[1]));
  levels.forEach((level, at) => { if (at && level > levels[at - 1] + 1) found.push(`h${level} after h${levels[at - 1]}`); });

  // As wide as the window, and what is wider scrolls by keyboard too
  const surplus = document.documentElement.scrollWidth - window.innerWidth;
  if (surplus > 0) found.push(`${surplus} px too wide`);
  for (const element of every("main *")) {
    if (element.scrollWidth > element.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(element).overflowX) && element.tabIndex < 0) {
      say("scrolls by mouse alone", element);
    }
  }

  // Contrast of texts to what is behind them, in whatever notation colours are: the browser itself draws them
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parts = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.unshift(parts(getComputedStyle(one).backgroundColor));
    return layers.reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const pale = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), element = texts.currentNode.parentElement;
    const isSeen = text && element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
    if (!isSeen || element.closest("script, style, option, .visually-hidden, [disabled]")) continue;
    const style = getComputedStyle(element), under = ground(element);
    const ink = over(parts(element.closest("svg") ? style.fill : style.color), under);
    const [dark, light] = [luminance(ink), luminance(under)].sort((one, other) => one - other);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) pale.add(`contrast ${ratio.toFixed(2)}: ${element.tagName} ${element.getAttribute("class")} "${text.slice(0, 40)}"`);
  }
  return [...found, ...pale];
}
