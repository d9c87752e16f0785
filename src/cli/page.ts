/** `xenolith page`: the page, served to this machine's browser. */
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { whole } from './run.ts';
import { servePage } from './page-server.ts';

const folder = fileURLToPath(new URL('../../dist/page', import.meta.url));

export function registerPage(program: Command): void {
  program
    .command('page')
    .description('the page: a live machine, your files, the story of every packet; served to this machine alone')
    .option('--port <n>', 'port to listen at (default: one that is free)', whole(0, 65_535), 0)
    .option('--host <address>', 'address to listen at; another than that of this machine lets others in', '127.0.0.1')
    .addHelpText(
      'after',
      '\nNothing leaves the browser: the page talks to this server alone, and asks it for its own files only.\n',
    )
    .action(async ({ port, host }: { port: number; host: string }) => {
      const { server, url } = await servePage(folder, host, port);
      console.log(`xenolith: the page is at ${url} (Ctrl-C ends)`);
      for (const signal of ['SIGINT', 'SIGTERM'] as const)
        process.once(signal, () => {
          server.close();
          server.closeAllConnections();
        });
    });
}
