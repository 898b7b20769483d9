// Draws each .ad-plotly when it comes near the viewport; plotly.js itself is fetched for the first of them.
(() => {
  const PALETTE = /* the palette */ {};
  const library = new URL("plotly.min.js", document.currentScript.src).href;
  const theme = () => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

  let loading;
  const plotly = () =>
    (loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = library;
      script.onload = () => resolve(globalThis.Plotly);
      script.onerror = () => reject(new Error("plotly.min.js could not be loaded"));
      document.head.append(script);
    }));

  // Figures are written in the light colours; every string that is one of them becomes the theme's own.
  const recoloured = (value, colours) => {
    if (typeof value === "string") return colours.get(value.toLowerCase()) ?? value;
    if (Array.isArray(value)) return value.map((item) => recoloured(item, colours));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, recoloured(item, colours)]));
    return value;
  };

  function themed({ data, layout = {}, frames = [], config = {} }) {
    const own = PALETTE[theme()];
    const colours = new Map(Object.entries(PALETTE.light).map(([name, colour]) => [colour.toLowerCase(), own[name]]));
    const axis = { gridcolor: own.line, zerolinecolor: own.line, linecolor: own.muted };
    const axes = Object.fromEntries(
      ["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))].map((key) => [key, { ...axis, ...layout[key] }]),
    );
    const { width, template, ...rest } = layout; // the column gives the width, the book the template
    const book = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 56, r: 16, t: 32, b: 48 },
      ...rest,
      ...axes,
      font: { family: "Inter Variable, AD Chinese, system-ui, sans-serif", size: 14, color: own.ink, ...layout.font },
      autosize: true,
    };
    return recoloured({ data, layout: book, frames, config: { responsive: true, displaylogo: false, ...config } }, colours);
  }

  async function mount(host) {
    const figure = JSON.parse(host.querySelector("script").textContent);
    const Plotly = await plotly();
    const place = document.createElement("div");
    host.append(place);
    const draw = async () => {
      const { data, layout, frames, config } = themed(figure);
      await Plotly.react(place, data, layout, config);
      if (frames.length) await Plotly.addFrames(place, frames);
    };
    await draw();
    host.dataset.state = "ready";
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  const failed = (host) => (error) => {
    host.dataset.state = "failed";
    host.textContent = host.getAttribute("aria-label");
    console.error(error);
  };
  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        mount(target).catch(failed(target));
      }
    },
    { rootMargin: "600px" },
  );
  for (const host of document.querySelectorAll(".ad-plotly")) near.observe(host);
})();
