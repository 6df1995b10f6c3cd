import { defineConfig } from "vite";

// Fixed names: the node embeds these files at compile time, and tells browsers by an ETag when one has changed.
export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "inline" },
  build: {
    target: "es2022",
    // A preload helper and data URLs would need more than `script-src 'self'` and `img-src 'self'`.
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        banner: "/*! preact (c) Jason Miller, socket.io-client (c) Automattic and contributors; both MIT licensed. */",
        entryFileNames: "app.js",
        assetFileNames: "app[extname]",
      },
    },
  },
});
