import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { openTrace } from '../trace/index.ts';
import {
  runstateChangeEvent,
  RUNSTATE_OFFLINE,
  RUNSTATE_RUNNABLE,
  RUNSTATE_RUNNING,
  TRC_HVM_IOMEM_WRITE,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT64,
} from '../trace/events.ts';
import { encodeRecord, NO_TSC, TraceWindowWriter } from '../trace/writer.ts';
import { analyze, theGuest } from './join/analysis.ts';

const ACCESSES = 40_000;
const ADDRESS = 0xf1000020;

/** A trace of nothing but register writes that wait for the device model. */
function traceOfIo(): Uint8Array {
  const parts: Uint8Array[] = [];
  const writer = new TraceWindowWriter((bytes) => void parts.push(Uint8Array.from(bytes)));
  const words = new Int32Array(16384);
  let at = 0;
  const add = (event: number, tsc: number, ...data: number[]): void => {
    at += encodeRecord(words, at, event, tsc, data.length, ...data) / 4;
  };
  let tsc = 1000;
  add(runstateChangeEvent(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING), tsc, 1 << 16);
  for (let i = 0; i < ACCESSES; i++) {
    tsc += 1000;
    add(TRC_HVM_VMEXIT64, tsc, 48, 0x1000, 0);
    add(TRC_HVM_IOMEM_WRITE, NO_TSC, ADDRESS, i);
    add(runstateChangeEvent(RUNSTATE_RUNNING, RUNSTATE_OFFLINE), tsc + 100, 1 << 16);
    add(runstateChangeEvent(RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE), tsc + 600, 1 << 16);
    add(runstateChangeEvent(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING), tsc + 700, 1 << 16);
    add(TRC_HVM_VMENTRY, tsc + 900);
    if (at > words.length - 64 || i === ACCESSES - 1) {
      writer.window(0, new Uint8Array(words.buffer, 0, at * 4));
      at = 0;
    }
  }
  return Buffer.concat(parts);
}

function* logOfIo(): Generator<string> {
  for (let i = 0; i < ACCESSES; i++) {
    const us = String(2 + i).padStart(6, '0');
    yield `1@1700000000.${us}:handle_ioreq I/O=0x1 type=1 dir=0 df=0 ptr=0 port=0x${ADDRESS.toString(16)} data=0x${i.toString(16)} count=1 size=4`;
    yield `1@1700000000.${us}:memory_region_ops_write cpu -1 mr 0x1 addr 0x20 value 0x${i.toString(16)} size 4 name 'rtl8139'`;
  }
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes held, once buffers whose owners are gone are given back too: that takes another turn. */
async function memory(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    collect();
    await new Promise((resolve) => void setTimeout(resolve, 10));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

it('holds an access in 450 bytes, and one with its request of the log in 800', async () => {
  const bytes = traceOfIo();
  const open = (): ReturnType<typeof openTrace> => openTrace(bytes, { cpuHz: 1e9 });
  const before = await memory();
  const alone = theGuest(await analyze({ trace: await open() }));
  const one = (await memory()) - before;
  expect(alone.accesses).toHaveLength(ACCESSES);
  expect(alone.accesses[ACCESSES - 1]).toMatchObject({ data: BigInt(ACCESSES - 1), exitReason: 'EPT_VIOLATION', rip: 0x1000n });
  expect(one / ACCESSES).toBeLessThan(450);
  const between = await memory();
  const joined = theGuest(await analyze({ trace: await open(), dmLog: logOfIo() }));
  const both = (await memory()) - between;
  expect(joined.pairing!.pairs).toBe(ACCESSES);
  expect(both / ACCESSES).toBeLessThan(800);
  // Both are held to the end, or there would be nothing to measure.
  expect(alone.accesses.length + joined.accesses.length).toBe(2 * ACCESSES);
  console.log(`${(one / ACCESSES).toFixed(0)} bytes an access, ${(both / ACCESSES).toFixed(0)} with its request`);
});
