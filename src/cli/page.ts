/** `xenolith page`: the page, served to this machine's browser. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import { buildLinuxGuest } from '../machine/guest-node.ts';
import { whole } from './option-values.ts';
import { type ServedBeside, servePage } from './page-server.ts';

const folder = fileURLToPath(new URL('../../dist/page', import.meta.url));

interface PageOptions {
  readonly port: number;
  readonly host: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
}

/** A guest that the page can boot, as `guests.json` names it. */
interface ServedGuest {
  readonly name: string;
  readonly kernel: string;
  readonly initrd?: string;
  /** Undefined: the page makes the command line, as the Debian guest's init wants it. */
  readonly commandLine?: string;
}

/** The guests that are at hand: the one that is named, else the Debian guest where it was built before. */
export async function guestsAtHand({ kernel, initrd, append }: Partial<PageOptions>, cache?: string): Promise<ServedBeside> {
  const guests: ServedGuest[] = [];
  const beside = new Map<string, { file: string } | { text: string }>();
  const serve = (guest: Pick<ServedGuest, 'name' | 'commandLine'>, image: string, ramdisk: string | undefined): void => {
    for (const path of [image, ramdisk])
      if (path !== undefined && !existsSync(path)) throw new UserError(`${path}: no such file; name a kernel or an initramfs`);
    const at = `guest/${guests.length}`;
    guests.push({ ...guest, kernel: `${at}/kernel`, ...(ramdisk === undefined ? {} : { initrd: `${at}/initrd` }) });
    beside.set(`/${at}/kernel`, { file: resolve(image) });
    if (ramdisk !== undefined) beside.set(`/${at}/initrd`, { file: resolve(ramdisk) });
  };
  if (kernel !== undefined) serve({ name: basename(kernel), commandLine: append ?? 'console=ttyS0' }, kernel, initrd);
  else if (initrd !== undefined) throw new UserError('--initrd needs a kernel; add --kernel FILE');
  else {
    const debian = await buildLinuxGuest({ offline: true, ...(cache === undefined ? {} : { cache }) }).catch((error: unknown) => {
      if (error instanceof UserError) return undefined;
      throw error;
    });
    if (debian !== undefined) serve({ name: `Debian ${debian.version}` }, debian.vmlinux, debian.initrd);
  }
  beside.set('/guests.json', { text: JSON.stringify(guests) });
  // The page's own 7-Zip, which an installed package has once only: as a dependency.
  beside.set('/assets/7zz.wasm', { file: createRequire(import.meta.url).resolve('7z-wasm/7zz.wasm') });
  return beside;
}

export function registerPage(program: Command): void {
  program
    .command('page')
    .description('the page: a live machine, your files, the story of every packet; served to this machine alone')
    .option('--port <n>', 'port to listen at (default: one that is free)', whole(0, 65_535), 0)
    .option('--host <address>', 'address to listen at; another than that of this machine lets others in', '127.0.0.1')
    .option('--kernel <file>', 'kernel that the page can boot (default: the Debian guest, where it was built before)')
    .option('--initrd <file>', 'its initramfs')
    .option('--append <text>', 'its command line (default: console=ttyS0)')
    .addHelpText(
      'after',
      `
Nothing leaves the browser: the page talks to this server alone, and asks it for its own files and the guest only.

Examples:
  xenolith page
  xenolith page --port 8080`,
    )
    .action(async (options: PageOptions) => {
      const { port, host } = options;
      const { server, url } = await servePage(folder, host, port, await guestsAtHand(options));
      console.log(`xenolith: the page is at ${url} (Ctrl-C ends)`);
      for (const signal of ['SIGINT', 'SIGTERM'] as const)
        process.once(signal, () => {
          server.close();
          server.closeAllConnections();
        });
    });
}
