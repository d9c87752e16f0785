/** `xenolith guest …`: the images guests boot from. */
import type { Command } from 'commander';
import { buildLinuxGuest } from '../machine/guest-node.ts';
import { withProgress } from './progress.ts';

export function registerGuest(program: Command): void {
  const guest = program
    .command('guest')
    .description('images that guests boot from')
    .addHelpText('after', '\nExample:\n  xenolith guest build\n');
  guest
    .command('build')
    .description('fetch a Debian kernel and build its initramfs, or give those of the cache')
    .option('--cache <dir>', 'where packages and images are kept (default: xenolith/guest in $XDG_CACHE_HOME or ~/.cache)')
    .option('--offline', 'use the cache only')
    .option('--json', 'print the paths as JSON')
    .addHelpText('after', '\nExample:\n  xenolith guest build --json\n')
    .action(async (options: { cache?: string; offline?: boolean; json?: boolean }) => {
      const images = await withProgress((progress) => buildLinuxGuest({ ...options, progress }));
      if (options.json) console.log(JSON.stringify(images));
      else for (const [name, value] of Object.entries(images)) console.log(`${name.padEnd(8)} ${value}`);
    });
}
