/** How commands show on stderr how far long work is. */
import { SingleBar } from 'cli-progress';
import type { ByteSource } from '../trace/index-node.ts';

/** Run long work with a bar on stderr; without a terminal, one line per step. */
export async function withProgress<T>(work: (progress: (what: string, fraction: number) => void) => Promise<T>): Promise<T> {
  const bar = process.stderr.isTTY
    ? new SingleBar({ stream: process.stderr, format: '{what} [{bar}] {percentage}%', hideCursor: true, clearOnComplete: true })
    : undefined;
  let last = '';
  let started = false;
  try {
    return await work((what, fraction) => {
      if (bar) {
        if (!started) bar.start(100, 0, { what });
        started = true;
        bar.update(Math.round(fraction * 100), { what });
      } else if (what !== last) {
        last = what;
        process.stderr.write(`${what}\n`);
      }
    });
  } finally {
    if (started) bar?.stop();
  }
}

/**
 * A progress bar on a terminal that shows nothing else; rate and time left.
 * @param atEnd nothing is printed before the bar stops: then standard output may be the same terminal
 */
export function progressBar(
  source: ByteSource,
  atEnd = false,
): { update: (bytes: number) => void | Promise<void>; stop: () => void } {
  if (process.stderr.isTTY !== true || (process.stdout.isTTY === true && !atEnd) || source.size < 1 << 20)
    return { update() {}, stop() {} };
  const megabytes = (bytes: number): number => Math.round(bytes / 1_000_000);
  const bar = new SingleBar({
    format: `${source.name} {bar} {percentage}% {value}/{total} MB, {rate} MB/s, {left} left`,
    clearOnComplete: true,
    fps: 4,
  });
  const started = performance.now();
  bar.start(megabytes(source.size), 0, { rate: 0, left: '?' });
  return {
    update(bytes) {
      const seconds = (performance.now() - started) / 1000;
      if (seconds < 0.2 || bytes === 0) return undefined;
      const rate = bytes / seconds;
      bar.update(megabytes(Math.min(bytes, source.size)), {
        rate: megabytes(rate),
        left: `${Math.ceil(Math.max(0, source.size - bytes) / rate)} s`,
      });
      // The bar is drawn by a timer, which needs its turn.
      return new Promise((resolve) => void setImmediate(resolve));
    },
    stop: () => bar.stop(),
  };
}
