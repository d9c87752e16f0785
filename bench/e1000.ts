/**
 * The e1000 alone, on a test bus: nanoseconds and heap bytes of a register access and of a frame, both ways, with a large send.
 * Usage: npx tsx bench/e1000.ts [--json]
 */
import { TestBus } from '../src/devices/conformance/test-bus.ts';
import { E1000 } from '../src/devices/nic/e1000/core.ts';
import { R, type E1000Register } from '../src/devices/nic/e1000/registers.ts';

const RAM = 0x100_0000;
const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const FRAME = 1514;
const LARGE_SEND = 54 + 44 * 1460;
const BUFFER = 0x8000;
const ROUNDS = 7;

/** A chip with both rings of 256 descriptors, the frame's bytes at RAM + BUFFER, on the cheapest DMA there is; the wire keeps nothing. */
function setUp() {
  const bus = new TestBus((slot, wire) => new E1000(slot, wire, { mac: MAC }), RAM);
  const { chip, wire, ram } = bus;
  chip.writeConfig(4, 2, 7);
  wire.send = () => {};
  const { bytes } = ram;
  // Views of what is copied are kept, so that what grows on the heap is the chip's doing.
  const views = new Map<Uint8Array, Map<number, Uint8Array>>();
  const part = (whole: Uint8Array, from: number, length: number): Uint8Array => {
    let parts = views.get(whole);
    if (!parts) views.set(whole, (parts = new Map()));
    const key = from * 2048 + length;
    let view = parts.get(key);
    if (!view) parts.set(key, (view = whole.subarray(from, from + length)));
    return view;
  };
  ram.read = (gpa, buffer, offset, length) => {
    buffer.set(part(bytes, gpa - RAM, length), offset);
    return true;
  };
  ram.write = (gpa, buffer, offset, length) => {
    bytes.set(part(buffer, offset, length), gpa - RAM);
    return true;
  };
  bytes.set(MAC, BUFFER);
  const view = new DataView(bytes.buffer);
  const words = (at: number, ...values: number[]): void => values.forEach((w, i) => view.setUint32(at + 4 * i, w >>> 0, true));
  const write = (name: E1000Register, value: number): void => chip.writeBar(0, 4 * R[name], 4, value);
  const read = (name: E1000Register): number => chip.readBar(0, 4 * R[name], 4);
  write('TDBAL', RAM);
  write('TDLEN', 4096);
  write('TCTL', 2);
  for (let n = 0; n < 256; n++) words(0x2000 + 16 * n, RAM + 0x40000, 0, 0, 0);
  write('RDBAL', RAM + 0x2000);
  write('RDLEN', 4096);
  write('RDT', 255);
  write('RCTL', 0x8002);
  bus.clock.advance(2e9);
  return { chip, read, words, write, frame: bytes.slice(BUFFER, BUFFER + FRAME) };
}

const cases: Record<string, () => () => void> = {
  'register read (STATUS)': () => {
    const { read } = setUp();
    return () => void read('STATUS');
  },
  'register write (IMS)': () => {
    const { write } = setUp();
    return () => write('IMS', 0x9d);
  },
  'transmit, 1514 bytes': () => {
    const { words, write } = setUp();
    for (let n = 0; n < 256; n++) words(16 * n, RAM + BUFFER, 0, 0x0b000000 | FRAME, 0);
    let tail = 0;
    return () => {
      tail = (tail + 1) & 255;
      write('TDT', tail);
    };
  },
  'large send, 64,294 bytes in 44 segments': () => {
    const { words, write } = setUp();
    for (let n = 0; n < 256; n += 2) {
      words(16 * n, 14 | (24 << 8) | (33 << 16), 34 | (50 << 8), 0x27000000 | (LARGE_SEND - 54), (54 << 8) | (1460 << 16));
      words(16 * n + 16, RAM + BUFFER, 0, 0x2f100000 | LARGE_SEND, 0x300);
    }
    let tail = 0;
    return () => {
      tail = (tail + 2) & 255;
      write('TDT', tail);
    };
  },
  'receive, 1514 bytes': () => {
    const { chip, write, frame } = setUp();
    let tail = 255;
    return () => {
      if (chip.receive(frame, FRAME) !== 'accepted') throw new Error('not received');
      tail = (tail + 1) & 255;
      write('RDT', tail);
    };
  },
};

const results = Object.entries(cases).map(([name, make]) => {
  const work = make();
  const count = name.includes('44') ? 400 : name.includes('1514') ? 4000 : 100_000;
  const run = (n: number): number => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < n; i++) work();
    return Number(process.hrtime.bigint() - start) / n;
  };
  run(count);
  run(count);
  const times = Array.from({ length: ROUNDS }, () => run(count)).sort((a, b) => a - b);
  // Heap growth where no collection came between: the smallest that is not negative.
  const grown = Array.from({ length: ROUNDS }, () => {
    const before = process.memoryUsage().heapUsed;
    run(count);
    return (process.memoryUsage().heapUsed - before) / count;
  })
    .filter((bytes) => bytes >= 0)
    .sort((a, b) => a - b);
  return { name, ns: times[ROUNDS >> 1]!, min: times[0]!, max: times.at(-1)!, heapBytes: grown[0] ?? Number.NaN };
});

if (process.argv.includes('--json')) console.log(JSON.stringify(results, null, 1));
else
  for (const r of results)
    console.log(
      `${r.name.padEnd(40)} ${r.ns.toFixed(0).padStart(6)} ns (${r.min.toFixed(0)} … ${r.max.toFixed(0)}), ${r.heapBytes.toFixed(1)} heap bytes`,
    );
