/** What specs with a whole guest need that may not be there, and what to say then. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../src/base/errors.ts';
import type { GuestImages } from '../src/machine/guest.ts';
import { buildLinuxGuest } from '../src/machine/guest-node.ts';

const root = join(import.meta.dirname, '..');

/** The built command line. */
export const entry = join(root, 'dist/cli/main.js');

/** Is dist/ no older than the rooms a run goes through? */
function isBuilt(): boolean {
  const builtAt = existsSync(entry) ? statSync(entry).mtimeMs : 0;
  return ['base', 'cpu', 'hypervisor', 'devices', 'device-model', 'net', 'machine', 'cli'].every((room) =>
    readdirSync(join(root, 'src', room), { recursive: true })
      .map(String)
      .every(
        (file) =>
          !file.endsWith('.ts') || file.endsWith('.spec.ts') || statSync(join(root, 'src', room, file)).mtimeMs <= builtAt,
      ),
  );
}

/** The Debian guest and what else is asked for; `missing` says what is not there, empty: nothing is. */
export async function guestNeeds(
  needs: { readonly built?: boolean; readonly passt?: boolean } = {},
): Promise<{ readonly images: GuestImages | undefined; readonly missing: string }> {
  let images: GuestImages | undefined;
  let missing = '';
  if (needs.built && !isBuilt()) missing = 'dist/ is missing or older than src/ (npm run build)';
  if (needs.passt && spawnSync('passt', ['--version']).error !== undefined) missing = 'passt is not installed';
  try {
    images = await buildLinuxGuest();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    missing = error.message;
  }
  if (missing) console.warn(`left out: ${missing}`);
  return { images, missing };
}
