// Draws every plot with the colours of the reader's theme and the width of the page.
"use strict";
(() => {
  const toDark = JSON.parse(document.getElementById("dark-colours").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const plots = [...document.querySelectorAll(".plot")].map((node) => {
    const source = node.firstElementChild.textContent;
    node.textContent = "";
    return { node, source };
  });
  let printing = false;

  // Only keys of colours, because a file may be named "#0072b2".
  const themed = (value, key) => {
    if (Array.isArray(value)) return value.map((item) => themed(item, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, k)]));
    }
    if (typeof value !== "string" || !/color$/.test(key)) return value;
    const exchanged = toDark[value.slice(0, 7)];
    return exchanged ? exchanged + value.slice(7) : value;
  };

  const draw = () => {
    for (const { node, source } of plots) {
      let figure = JSON.parse(source);
      if (dark.matches && !printing) figure = themed(figure, "");
      for (const label of figure.layout.annotations || []) {
        if (narrow.matches && label.name) label.text = label.name;
        delete label.name;
      }
      Plotly.react(node, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    }
  };

  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
  addEventListener("beforeprint", () => { printing = true; draw(); });
  addEventListener("afterprint", () => { printing = false; draw(); });
  draw();
})();
