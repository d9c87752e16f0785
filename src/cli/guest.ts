/** `xenolith guest …`: the images guests boot from. */
import { SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import { buildLinuxGuest } from '../machine/guest-node.ts';

export function registerGuest(program: Command): void {
  const guest = program.command('guest').description('images that guests boot from');
  guest
    .command('build')
    .description('fetch a Debian kernel and build its initramfs, or give those of the cache')
    .option('--cache <dir>', 'where packages and images are kept (default: .cache/guest of the project)')
    .option('--offline', 'use the cache only')
    .option('--json', 'print the paths as JSON')
    .addHelpText('after', '\nExample:\n  xenolith guest build --json\n')
    .action(async (options: { cache?: string; offline?: boolean; json?: boolean }) => {
      const images = await withProgress((progress) => buildLinuxGuest({ ...options, progress }));
      if (options.json) console.log(JSON.stringify(images));
      else for (const [name, value] of Object.entries(images)) console.log(`${name.padEnd(8)} ${value}`);
    });
}

/** Run long work with a bar on stderr; without a terminal, one line per step. */
export async function withProgress<T>(work: (progress: (what: string, fraction: number) => void) => Promise<T>): Promise<T> {
  const bar = process.stderr.isTTY ? new SingleBar({ stream: process.stderr, format: '{what} [{bar}] {percentage}%', hideCursor: true, clearOnComplete: true }) : undefined;
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
