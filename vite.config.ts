/** The page (src/web) as a static folder: works under any path, without a network. Built against the built library. */
import { defineConfig } from 'vite';

export default defineConfig({
  root: 'src/web',
  base: './',
  plugins: [
    {
      name: 'built-library',
      enforce: 'pre',
      resolveId: (id) =>
        id === '../library/index.ts' ? new URL('./dist/library/index.js', import.meta.url).pathname : undefined,
    },
  ],
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  worker: { format: 'es' },
  build: {
    outDir: '../../dist/page',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
