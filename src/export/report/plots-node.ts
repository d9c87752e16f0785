import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { PlotLibrary } from './page.ts';

/** uPlot, as its package has it for a page. */
export function plotLibrary(): PlotLibrary {
  const folder = dirname(createRequire(import.meta.url).resolve('uplot'));
  return {
    script: readFileSync(join(folder, 'uPlot.iife.min.js'), 'utf8'),
    style: readFileSync(join(folder, 'uPlot.min.css'), 'utf8'),
  };
}
