/**
 * Bundle the widgets: one ES module and one style sheet per widget into ../dist, and the runtime of the static page as
 * one classic script, and the script of the files that attention maps are saved to, and the program that computes still
 * pictures under Node. anywidget loads a widget from a blob URL, where relative imports cannot work, so each bundle is
 * whole.
 *
 *   npm run build                       write ../dist
 *   node build.mjs --outdir=FOLDER      write elsewhere (the test that compares bytes)
 */

import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const palette = resolve(here, "../../plots/palette.json");
const WIDGETS = ["attention_lab", "attention_map", "scale_explorer", "space_map", "translator"];

/** `import "palette.css"`: the book's palette as CSS variables of a widget, for hosts without the page's own. */
const paletteCss = {
  name: "palette",
  /** @param {import("esbuild").PluginBuild} esbuild */
  setup(esbuild) {
    esbuild.onResolve({ filter: /^palette\.css$/ }, () => ({ path: "palette.css", namespace: "palette" }));
    esbuild.onLoad({ filter: /.*/, namespace: "palette" }, () => ({
      contents: paletteRules(JSON.parse(readFileSync(palette, "utf8"))),
      loader: "css",
      watchFiles: [palette],
    }));
  },
};

/**
 * The page, JupyterLab and Colab each say "dark" in their own way; paper is always light.
 * @param {{ light: Record<string, string>, dark: Record<string, string> }} colours
 */
function paletteRules({ light, dark }) {
  const variables = (/** @type {Record<string, string>} */ theme, /** @type {string} */ scheme) =>
    `{color-scheme:${scheme};${Object.entries(theme)
      .map(([name, colour]) => `--ad-${name}:${colour};`)
      .join("")}}`;
  const darkHosts = ['html[data-theme="dark"]', '[data-jp-theme-light="false"]', "html[theme=dark]"];
  return [
    `.ad-widget${variables(light, "light")}`,
    `@media not print{${darkHosts.map((host) => `${host} .ad-widget`).join()}${variables(dark, "dark")}}`,
  ].join("\n");
}

const { values } = parseArgs({ options: { outdir: { type: "string", default: resolve(here, "../dist") } } });

/** @type {import("esbuild").BuildOptions} */
const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  charset: "utf8",
  target: ["es2022"],
  legalComments: "none",
  logLevel: "warning",
  plugins: [paletteCss],
};
const note = "/* generated from widgets/js by `npm run build`; do not edit */";

await build({
  ...common,
  entryPoints: WIDGETS.map((name) => `${name}.js`),
  outdir: values.outdir,
  format: "esm",
  banner: { js: note, css: note },
});
await build({
  ...common,
  entryPoints: ["attention_page.js"],
  outdir: values.outdir,
  format: "iife",
  banner: { js: note, css: note },
});
await build({
  ...common,
  entryPoints: ["still.js"],
  outfile: resolve(values.outdir, "still.mjs"),
  platform: "node",
  format: "esm",
  banner: { js: note },
});
await build({
  ...common,
  entryPoints: ["runtime/runtime.js"],
  outfile: resolve(values.outdir, "runtime.js"),
  format: "iife",
  loader: { ".css": "text" },
  banner: { js: note },
});
