/** The page (src/web) as a static folder: works under any path, without a network. Built against the built library. */
import { defineConfig } from 'vite';

/** The package leaves 7zz.wasm out, and `xenolith page` serves the dependency's own (src/cli/page.ts): its name is known. */
const output = {
  assetFileNames: ({ names }: { names: string[] }): string =>
    names[0] === '7zz.wasm' ? 'assets/7zz.wasm' : 'assets/[name]-[hash][extname]',
};

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
  worker: { format: 'es', rolldownOptions: { output } },
  build: {
    outDir: '../../dist/page',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { output },
  },
});
