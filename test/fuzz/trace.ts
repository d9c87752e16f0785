/**
 * Fuzz target: everything that reads a file somebody gives. The input is taken as a trace (merged, followed, dumped, summarized,
 * and as a stream in pieces), as a capture, and as lines of a device model's log and of xenalyze's text. Watched for: exceptions
 * other than those meant for users, more records than the bytes can hold, and a stream that gives other records than its windows.
 */
import { parseDmLine } from '../../src/analyze/sources/dm-lines.ts';
import { readCapture } from '../../src/analyze/sources/pcap.ts';
import { parseXenalyzeLine } from '../../src/analyze/sources/xenalyze-text.ts';
import { UserError } from '../../src/base/errors.ts';
import { parseTrigger } from '../../src/export/watch/trigger.ts';
import { Watcher } from '../../src/export/watch/table.ts';
import type { LiveWindow } from '../../src/trace/format/live-feed.ts';
import { memorySource } from '../../src/trace/format/source.ts';
import { LiveFollower } from '../../src/trace/xenalyze/live.ts';
import { engineOptions } from '../../src/trace/xenalyze/dump.ts';
import { EndOfTool } from '../../src/trace/xenalyze/errors.ts';
import { Follower } from '../../src/trace/xenalyze/follower.ts';
import { decodeRecord } from '../../src/trace/records/decode.ts';
import { generateTrace } from '../../src/trace/testing/generator.ts';
import { PcapngWriter } from '../../src/net/pcapng.ts';
import type { Target } from './engine.ts';
import { check } from './program.ts';

const LARGEST = 1 << 16;
const trigger = parseTrigger('io.latency > 1ns');

/** Follow the whole input. @returns records */
function follow(input: Uint8Array, dump: boolean, exact: boolean): number {
  const engine = new Follower(memorySource(input), engineOptions({ cpuHz: 2.4e9, svm: input[5] === 1, exact }, dump));
  if (!dump)
    engine.transitions = new Watcher(
      (ticks) => ticks,
      trigger,
      () => {},
    );
  try {
    while (engine.start() < 0);
    for (;;) {
      const left = engine.run(1000);
      engine.out.clear();
      if (left !== 0) break;
      check(engine.records <= input.length, 'more records than bytes');
    }
  } catch (error) {
    if (!(error instanceof EndOfTool)) throw error;
  }
  return engine.records;
}

function stream(input: Uint8Array): void {
  const watcher = new Watcher(
    (ticks) => ticks,
    trigger,
    () => {},
  );
  const follower = new LiveFollower(2.4e9, watcher);
  let bytes = 0;
  const piece = 1 + (input[0] ?? 0);
  const count = (window: LiveWindow): void => {
    bytes += window.bytes;
  };
  for (let at = 0; at < input.length; at += piece) follower.push(input.subarray(at, at + piece), count);
  follower.end(count);
  watcher.table(follower.nowNs, 1e9, 'vmx');
  // A record has four bytes at least; one of lost records is met twice.
  check(follower.records <= bytes / 2, 'a stream gives more records than its windows hold');
  check(follower.skipped + bytes <= input.length, 'a stream is more than its bytes');
}

function text(input: Uint8Array): void {
  const lines = new TextDecoder('latin1').decode(input).split('\n');
  lines.forEach((line, i) => {
    parseDmLine(line, i + 1);
    parseXenalyzeLine(line, i + 1);
  });
}

function forUsers(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
}

function run(input: Uint8Array): void {
  if (input.length > LARGEST) return;
  follow(input, false, false);
  follow(input, true, false);
  follow(input, true, true);
  stream(input);
  forUsers(() => readCapture(input, 'input'));
  text(input.subarray(0, 4096));
  const words = new Int32Array(7);
  new Uint8Array(words.buffer).set(input.subarray(0, 28));
  decodeRecord((words[0]! >>> 0) & 0x0fffffff, words.subarray(0, (input[4] ?? 0) & 7), {
    vendor: null,
    xenMinor: null,
    tscBaseHigh: 0,
  });
}

/** A small capture. */
function capture(): Uint8Array {
  const parts: Uint8Array[] = [];
  const writer = new PcapngWriter({
    clock: { epochUs: 0, nowNs: () => 0 },
    interfaces: ['v'],
    sink: (part) => void parts.push(part),
  });
  writer.write(new Uint8Array(60).fill(7), 'outbound', 'told', 5);
  writer.flush();
  return new Uint8Array(Buffer.concat(parts));
}

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

export const traceTarget: Target = {
  name: 'trace',
  run,
  seeds: [
    generateTrace({ seed: 1, cpus: 2, steps: 12, windowBytes: 256 }),
    generateTrace({ seed: 2, cpus: 3, steps: 12, windowBytes: 256, losses: 0.2 }),
    generateTrace({ seed: 3, cpus: 2, steps: 12, windowBytes: 256, oddities: 0.8, svm: true }),
    generateTrace({ seed: 4, cpus: 2, steps: 12, windowBytes: 512, skew: 4000, firstTsc: 2 ** 53 + 2 ** 34 }),
    capture(),
    ascii('4242@1795363987.771518:handle_ioreq I/O=0x7ffd type=1 dir=0 df=0 ptr=0 port=0xf10000d9 data=0x40 count=1 size=1\n'),
    ascii(
      ' 5.686983194 -x d1v0 mmio_assist w gpa f10000d9 data 40\n]  5.7 -x d1v0 vmexit exit_reason EPT_VIOLATION eip ffffffff81\n',
    ),
  ],
};
