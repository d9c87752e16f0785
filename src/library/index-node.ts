/** The library in Node: machines, and what their records tell. Images may be paths. */
import { readFile } from 'node:fs/promises';
import { UserError } from '../base/errors.ts';
import { disassemble } from '../machine/disassemble-node.ts';
import { startWorker } from '../machine/launch-node.ts';
import { fetchBytes } from './images.ts';
import { BaseMachine } from './machine.ts';
import type { MachineOptions } from './options.ts';
import type { Platform } from './platform.ts';

export * from './shared-exports.ts';
export { debianGuest, type DebianGuestOptions } from './debian-guest-node.ts';

async function load(source: string | URL): Promise<Uint8Array> {
  if (/^https?:/.test(String(source))) return fetchBytes(source);
  const path = typeof source === 'string' && source.startsWith('file:') ? new URL(source) : source;
  try {
    const bytes = await readFile(path);
    // Not a piece of Node's pool: the machine's thread takes the buffer over.
    return bytes.byteLength === bytes.buffer.byteLength ? new Uint8Array(bytes.buffer) : new Uint8Array(bytes);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UserError(`cannot read ${String(source)}: ${code === 'ENOENT' ? 'no such file' : message}`);
  }
}

const platform: Platform = { hasWorkers: true, isShared: true, startWorker, extras: { disassemble }, load };

/** A machine: made from its options, it waits for `run()`. */
export class Machine extends BaseMachine {
  constructor(options: MachineOptions) {
    super(options, platform);
  }
}
