/** Bytes of an image, wherever they are. */
import { UserError } from '../base/errors.ts';
import type { ImageSource } from './options.ts';

/** The bytes; a copy where they were given, so that the caller keeps its own. */
export async function loadBytes(source: ImageSource, load: (source: string | URL) => Promise<Uint8Array>): Promise<Uint8Array> {
  if (typeof source === 'string' || source instanceof URL) return load(source);
  if (source instanceof Uint8Array) return source.slice();
  if (source instanceof ArrayBuffer) return new Uint8Array(source.slice(0));
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  if ('buffer' in source) return loadBytes(source.buffer, load);
  if ('url' in source) return load(source.url);
  throw new UserError('an image is a path, a URL, bytes or a Blob');
}

/** What a URL gives. */
export async function fetchBytes(source: string | URL): Promise<Uint8Array> {
  let response: Response;
  try {
    response = await fetch(source);
  } catch (error) {
    throw new UserError(`${String(source)}: cannot be fetched: ${(error as Error).message}`);
  }
  if (!response.ok) throw new UserError(`${String(source)}: cannot be fetched: the server answers ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
