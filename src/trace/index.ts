/** Library: read xentrace files in any environment. In Node, `xenolith/trace` adds paths and streams. */
export { openTrace, Trace } from './reader.ts';
export type { RawRecord, TraceOptions, TraceRecord } from './reader.ts';
export { decodeRecord, classOf } from './decode.ts';
export type { Decoded, Runstate } from './decode.ts';
export type { RecordClass, FieldValue } from './layouts.ts';
export { eventName } from './layouts.ts';
export { exitReasonName } from './exit-reasons.ts';
export type { Vendor } from './exit-reasons.ts';
export type { Inference } from './infer.ts';
export type { Damage } from './merge.ts';
export { blobSource, memorySource } from './source.ts';
export type { ByteSource, TraceInput } from './source.ts';
export { DEFAULT_CPU_HZ, parseCpuHz, TscScale } from './time.ts';
export * from './events.ts';
export * from './writer.ts';
