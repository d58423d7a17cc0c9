import { readFileSync } from "node:fs";
import { defineConfig } from "vitest/config";
import type { HttpProxy, Plugin } from "vite";

/** The packages that end up in the page, whose licences travel with it. */
const BUNDLED = ["preact", "@preact/signals", "@preact/signals-core", "uplot"];

function licences(): Plugin {
  return {
    name: "licences",
    apply: "build",
    generateBundle() {
      const parts = BUNDLED.map((name) => {
        const folder = new URL(`./node_modules/${name}/`, import.meta.url);
        const about = JSON.parse(readFileSync(new URL("package.json", folder), "utf8"));
        const text = readFileSync(new URL("LICENSE", folder), "utf8").replace(/\r\n/g, "\n").trim();
        return `${name} ${about.version} (${about.license})\n\n${text}\n`;
      });
      const head =
        "The page is part of kymflow_zarr (BSD-3-Clause). Its built files contain these packages.\n" +
        "The colour maps viridis and magma are by Nathaniel Smith and Stefan van der Walt (CC0).\n";
      const source = [head, ...parts].join(`\n${"-".repeat(72)}\n\n`);
      this.emitFile({ type: "asset", fileName: "licenses.txt", source });
    },
  };
}

const SERVER = "http://127.0.0.1:8765";

/** The server answers its own page only; while developing, this one passes for it. */
function asOwn(proxy: HttpProxy.Server): void {
  proxy.on("proxyReq", (request) => {
    if (request.getHeader("origin")) request.setHeader("origin", SERVER);
    request.removeHeader("sec-fetch-site");
  });
}

export default defineConfig({
  plugins: [licences()],
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: "../src/kymflow_zarr/viewer/web/static",
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    // A file as a data: address would be refused by the page's policy where it is no picture.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: Object.fromEntries(["/api", "/download", "/licenses.txt"].map((path) => [path, { target: SERVER, changeOrigin: true, configure: asOwn }])),
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
