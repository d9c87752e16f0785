import { describe, expect, it } from 'vitest';
import { dumpTrace } from './dump.ts';
import * as events from '../events.ts';
import {
  RUNSTATE_RUNNABLE,
  RUNSTATE_RUNNING,
  runstateChangeEvent,
  TRC_64_FLAG,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT64,
} from '../events.ts';
import { memorySource } from '../format/source.ts';
import { TraceFileWriter } from '../writer.ts';

/** Every event that has a name, with and without the flag of 64-bit words. */
const EVENTS = Object.entries(events).filter(
  (entry): entry is [string, number] =>
    /^TRC_[A-Z0-9]+_[A-Z0-9_]+$/.test(entry[0]) && typeof entry[1] === 'number' && (entry[1] & 0xfff) !== 0 && entry[1] > 0xffff,
);

/** The lines of a trace in which `event` has so many words, with other records behind it. */
async function dump(event: number, words: readonly number[], behind: number): Promise<string> {
  const parts: number[] = [];
  const writer = new TraceFileWriter((bytes) => void parts.push(...bytes), 1);
  writer.record(0, runstateChangeEvent(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING), 1000, 1, 1 << 16);
  writer.record(0, TRC_HVM_VMENTRY, 2000);
  writer.record(0, TRC_HVM_VMEXIT64, 3000, 3, 30, 0x1000, 0);
  writer.record(0, event, 4000, words.length, ...words);
  for (let i = 0; i < 3; i++) writer.record(0, TRC_HVM_VMENTRY + behind, 9000, 4, behind, behind, behind, behind);
  writer.flush();
  let text = '';
  await dumpTrace(memorySource(new Uint8Array(parts)), { cpuHz: 1e9, svm: false, exact: false }, (part) => {
    text += new TextDecoder().decode(part);
  });
  const lines = text.split('\n');
  return lines
    .slice(0, lines.findIndex((line) => line.includes('0.00000') && / 0?\.?0000080/.test(line)) + 1 || undefined)
    .filter((line) => line.includes('0.000003000'))
    .join('\n');
}

describe('a record that is shorter than its form', () => {
  it.each(EVENTS)('%s: shows no word of the records behind it', async (_, event) => {
    for (const wide of [0, TRC_64_FLAG])
      for (let count = 0; count < 7; count++) {
        const words = Array.from({ length: count }, (__, i) => i + 1);
        const shown = await Promise.all([0, 0x40].map((behind) => dump(event | wide, words, behind)));
        expect(shown[1]).toBe(shown[0]);
      }
  });
});
