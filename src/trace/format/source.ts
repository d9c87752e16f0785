import { UserError } from '../../base/errors.ts';

/** Random access to the bytes of a trace file. A source that can answer at once has `readSync`. */
export interface ByteSource {
  /** How messages call it: a file name, or what it is. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /** Fill `target` from byte `offset`; gives the bytes read, fewer than asked only at the end. */
  readSync?(offset: number, target: Uint8Array): number;
  read(offset: number, target: Uint8Array): Promise<number>;
  close(): Promise<void>;
}

/** A trace that is in memory. */
export function memorySource(bytes: Uint8Array, name = 'trace in memory'): ByteSource {
  const readSync = (offset: number, target: Uint8Array): number => {
    const part = bytes.subarray(offset, offset + target.length);
    target.set(part);
    return part.length;
  };
  return { name, size: bytes.length, readSync, read: async (offset, target) => readSync(offset, target), close: async () => {} };
}

/** A Blob or a File of a browser, read piece by piece. */
export function blobSource(blob: Blob, name = 'name' in blob ? String(blob.name) : 'trace blob'): ByteSource {
  return {
    name,
    size: blob.size,
    async read(offset, target) {
      const part = new Uint8Array(await blob.slice(offset, offset + target.length).arrayBuffer());
      target.set(part);
      return part.length;
    },
    close: async () => {},
  };
}

/** What every environment can open. */
export type TraceInput = Uint8Array | Blob | ByteSource;

export function sourceOf(input: TraceInput): ByteSource {
  if (input instanceof Uint8Array) return memorySource(input);
  if (input instanceof Blob) return blobSource(input);
  if (typeof input === 'object' && input !== null && typeof input.read === 'function' && typeof input.size === 'number')
    return input;
  throw new UserError('a trace is opened from a Uint8Array, a Blob or a byte source (in Node also from a path or a stream)');
}
