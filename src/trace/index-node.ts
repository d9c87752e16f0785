/** Library, in Node: openTrace takes a path or a stream too. */
import { Readable } from 'node:stream';
import { openTrace as openAny } from './follow/reader.ts';
import type { Trace, TraceOptions } from './follow/reader.ts';
import type { TraceInput } from './format/source.ts';
import { fileSource, streamSource } from './format/source-node.ts';

export * from './index.ts';
export { fileSource } from './format/source-node.ts';
export { dumpFile, summarizeFile, writeAll } from './threads/threads-node.ts';

/** Open a trace from a path, a stream, bytes, a Blob or a byte source. Close it when done. */
export async function openTrace(input: string | Readable | TraceInput, options: TraceOptions = {}): Promise<Trace> {
  if (typeof input === 'string') return openAny(fileSource(input), options);
  if (input instanceof Readable) return openAny(await streamSource(input), options);
  return openAny(input, options);
}
