"use strict";
(() => {
  const hasWebGL = (() => {
    try {
      const canvas = document.createElement("canvas");
      return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
    } catch {
      return false;
    }
  })();
  const touched = matchMedia("(pointer: coarse)").matches;
  const config = { responsive: true, displaylogo: false, displayModeBar: touched ? false : "hover" };
  const plots = [];

  const draw = async (part) => {
    const inSpace = part.classList.contains("space");
    if (inSpace && !hasWebGL) return; // the still image is shown instead
    const plot = part.querySelector(".plot");
    const { data, layout } = JSON.parse(part.querySelector("script").textContent);
    if (inSpace && innerWidth < 700) {
      layout.height = 390; // the largest height that does not cut off the scene
      for (const axis of "xyz") layout.scene[`${axis}axis`].nticks = 4;
    }
    if (touched && !inSpace) layout.dragmode = false; // touch gestures scroll the page
    part.classList.add("drawn"); // first, so that the plot has a width
    try {
      await Plotly.newPlot(plot, data, layout, config);
      if (!inSpace) plots.push({ plot, height: layout.height });
    } catch (error) {
      part.classList.remove("drawn");
      console.error(error);
    }
  };

  const all = async () => {
    for (const part of document.querySelectorAll(".part.figure")) {
      await draw(part);
      await new Promise((next) => setTimeout(next)); // keeps the page responsive
    }
    document.documentElement.dataset.drawn = "all";
  };

  const paper = { width: 680, height: 320, autosize: false }; // two plots on a printed page
  addEventListener("beforeprint", () => plots.forEach(({ plot }) => Plotly.relayout(plot, paper)));
  addEventListener("afterprint", () =>
    plots.forEach(({ plot, height }) => Plotly.relayout(plot, { width: null, height, autosize: true })),
  );
  all();
})();
