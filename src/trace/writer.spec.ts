import { describe, expect, it } from 'vitest';
import {
  DOMID_IDLE,
  runstateChangeEvent,
  schedClassEvent,
  TRC_HVM_IOMEM_WRITE,
  TRC_HVM_NPF,
  TRC_HVM_VMEXIT64,
  TRC_SCHED_CSCHED2,
} from './events.ts';
import {
  encodeLostRecords,
  encodeRecord,
  encodeWrapBuffer,
  NO_TSC,
  recordBytes,
  TraceFileWriter,
  TraceWindowWriter,
} from './writer.ts';

const words = new Uint32Array(16);
const collect = () => {
  const parts: Uint8Array[] = [];
  return {
    parts,
    sink: (bytes: Uint8Array) => void parts.push(bytes.slice()),
    words: () => [...new Uint32Array(new Uint8Array(parts.flatMap((p) => [...p])).buffer)],
  };
};

describe('encodeRecord', () => {
  it('writes event, count and the TSC flag into the header, then TSC low, high and the extra words', () => {
    const bytes = encodeRecord(words, 1, TRC_HVM_VMEXIT64, 0x1_2345_6789_abcd, 3, 48, 0xa01624ae, 0xffffffff);
    expect(bytes).toBe(24);
    expect([...words.subarray(1, 7)]).toEqual([0xb0081102, 0x6789abcd, 0x12345, 48, 0xa01624ae, 0xffffffff]);
  });

  it('leaves the TSC out where there is none, and negative words are taken modulo 2^32', () => {
    expect(encodeRecord(words, 0, TRC_HVM_NPF, NO_TSC, 6, 0xf2051020, 0, -1, -1, 0x182, 4)).toBe(28);
    expect([...words.subarray(0, 7)]).toEqual([0x60082021, 0xf2051020, 0, 0xffffffff, 0xffffffff, 0x182, 4]);
  });

  it('writes a TSC of zero as a TSC', () => {
    expect(encodeRecord(words, 0, TRC_HVM_IOMEM_WRITE, 0, 2, 1, 2)).toBe(20);
    expect(words[0]).toBe(0xa0082217);
  });

  it('agrees with recordBytes', () => {
    for (let count = 0; count <= 7; count++) {
      for (const tsc of [NO_TSC, 5]) expect(encodeRecord(words, 0, 0x81001, tsc, count)).toBe(recordBytes(tsc, count));
    }
  });
});

it('a lost-records record is 28 bytes: count, domid and vcpu, TSC of the first lost one', () => {
  expect(encodeLostRecords(words, 0, 0x2_00000000, 7, DOMID_IDLE, 1, 0x1_80000001)).toBe(28);
  expect([...words.subarray(0, 7)]).toEqual([0xc001f001, 0, 2, 7, 0x00017fff, 0x80000001, 1]);
});

it('a wrap record fills any rest of 4 to 40 bytes', () => {
  for (let bytes = 4; bytes <= 40; bytes += 4) {
    encodeWrapBuffer(words, 0, bytes);
    expect(words[0]! & 0x0fffffff).toBe(0x1f002);
    expect(4 + (words[0]! >>> 31) * 8 + ((words[0]! >>> 28) & 7) * 4).toBe(bytes);
  }
});

it('event numbers of runstates and schedulers', () => {
  expect(runstateChangeEvent(1, 0)).toBe(0x21101);
  expect(runstateChangeEvent(0, 3)).toBe(0x21031);
  expect(schedClassEvent(TRC_SCHED_CSCHED2, 9)).toBe(0x22209);
});

describe('windows', () => {
  it('a window opens with a CPU change record that tells the bytes of both parts; an empty one is not written', () => {
    const out = collect();
    const writer = new TraceWindowWriter(out.sink);
    writer.window(0, new Uint8Array(0));
    writer.window(3, new Uint8Array([1, 0, 0, 0]), new Uint8Array([2, 0, 0, 0]));
    expect(out.words()).toEqual([0x2001f003, 3, 8, 1, 2]);
    expect(writer.bytesWritten).toBe(20);
  });

  it('a file writer keeps CPUs apart and writes them in rising order', () => {
    const out = collect();
    const writer = new TraceFileWriter(out.sink, 2, 40);
    writer.record(1, 0x81001, 10);
    writer.record(0, 0x81001, 11);
    writer.record(0, 0x82010, NO_TSC);
    writer.record(0, 0x81002, 12, 2, 1, 2);
    writer.record(0, 0x81001, 13);
    writer.flush();
    expect(out.words()).toEqual([
      0x2001f003, 0, 36, 0x80081001, 11, 0, 0x00082010, 0xa0081002, 12, 0, 1, 2, 0x2001f003, 1, 12, 0x80081001, 10, 0, 0x2001f003,
      0, 12, 0x80081001, 13, 0,
    ]);
    expect(writer.bytesWritten).toBe(out.words().length * 4);
    expect(() => writer.record(2, 0x81001, 1)).toThrow('CPU 2');
  });
});
